// The frame around the views: where one is, keys of the keyboard, and the link to the dashboard.

import { Board, chip } from "./board.js";
import { Changes } from "./changes.js";
import { begin, logIn } from "./connection.js";
import { announce, h, setAttribute, setText } from "./dom.js";
import { moment, span, visible } from "./format.js";
import { Key } from "./key.js";
import { Keys } from "./keys.js";
import { state } from "./state.js";

const main = document.getElementById("main");
const link = document.getElementById("link");
const banner = document.getElementById("banner");
const login = document.getElementById("login");
const keyboard = document.getElementById("keyboard");

const heading = h("h1", { class: "offscreen" });

let view = null;
let unwatch = () => {};
let lostAt = 0;

const VIEWS = {
  "": (place) => new Board({ ...place, wall: false }),
  wall: (place) => new Board({ ...place, wall: true }),
  keys: (place) => new Keys(place),
  key: (place) => new Key(place),
  changes: (place) => new Changes(place),
};

/** Return where the address says one is. */
function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...parts] = path.split("/").map(decoded);
  return { name: Object.hasOwn(VIEWS, name) ? name : "", parts, query: new URLSearchParams(query ?? "") };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function show() {
  const here = place();
  unwatch();
  view?.close();
  view = VIEWS[here.name](here);
  main.replaceChildren(heading, view.element);
  document.body.dataset.view = here.name || "board";
  for (const anchor of document.querySelectorAll("nav a")) {
    const current = anchor.dataset.view === (here.name || "board") || (here.name === "key" && anchor.dataset.view === "keys");
    setAttribute(anchor, "aria-current", current ? "page" : null);
  }
  unwatch = state.watch((dirty) => {
    frame();
    view.paint(dirty);
  });
  if (view.place) view.place();
  frame();
  view.tick();
  scrollTo(0, 0);
}

/** Update what is around the view. */
function frame() {
  const sources = [...state.sources.values()];
  const names = sources.map((source) => source.title);
  setText(document.getElementById("title"), names.length === 1 ? visible(names[0]) : "kv-dict");
  const where = view?.title?.() ?? "";
  setText(heading, visible(where || "Board"));
  document.title = [where, names.length === 1 ? names[0] : "", "kv-dict"].filter(Boolean).join(" – ");
  const worst = sources.find((source) => source.health.state !== "live") ?? sources[0];
  if (worst) chip(link, worst.health);
  else {
    setAttribute(link, "data-state", "warn");
    setText(link, "Connecting");
  }
  if (state.linked) lostAt = 0;
  else lostAt ||= Date.now() / 1000;
  tellOutage(sources);
}

/** Say in words what is shown although it may not be true any more. */
function tellOutage(sources) {
  let text = "";
  if (!state.linked && state.linkedAt && Date.now() / 1000 - lostAt > 0.3) {
    text = `No connection to the dashboard since ${moment(state.linkedAt)}. What you see is from then. Trying again.`;
  } else if (state.linked) {
    const away = sources.filter((source) => source.health.state === "stale" || source.health.state === "failed");
    text = away
      .map(({ title, health }) =>
        health.state === "stale"
          ? `${sources.length > 1 ? `${title}: ` : ""}The store cannot be reached since ${moment(health.since)}. What you see is ${span(state.now() - health.since)} old.`
          : `${title}: ${health.reason}`,
      )
      .join("  ");
  }
  banner.hidden = !text;
  setText(banner, visible(text));
}

setInterval(() => {
  frame();
  view?.tick();
}, 1000);

// -- keyboard ------------------------------------------------------------------------------------

const GO = { b: "#/", k: "#/keys", c: "#/changes", w: "#/wall" };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typing = event.target.matches("input, textarea, select");
  if (event.key === "Escape") {
    if (typing) event.target.blur();
    else if (place().name === "key") location.hash = "#/keys";
    else if (place().name) location.hash = "#/";
  } else if (typing) return;
  else if (event.key in GO) location.hash = GO[event.key];
  else if (event.key === "t") theme();
  else if (event.key === "?") keyboard.showModal();
  else if (event.key === "/") {
    if (place().name !== "keys") {
      location.hash = "#/keys";
      show();
    }
    view.search?.focus();
  } else return;
  event.preventDefault();
});

function theme() {
  const dark = document.documentElement.dataset.theme !== "dark";
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  try {
    localStorage.setItem("kv-dict-theme", dark ? "dark" : "light");
  } catch {
    // storage is switched off: until the page is closed
  }
  view.tick();
}

document.getElementById("theme").addEventListener("click", theme);
document.getElementById("help").addEventListener("click", () => keyboard.showModal());

// -- login ---------------------------------------------------------------------------------------

function askForToken(reason = "") {
  if (reason) setText(document.getElementById("login-reason"), `${reason[0].toUpperCase()}${reason.slice(1)}.`.replace("..", "."));
  if (!login.open) login.showModal();
}

login.addEventListener("close", async () => {
  const field = document.getElementById("token");
  const token = field.value;
  field.value = "";
  if (login.returnValue === "cancel" || !token) return;
  try {
    await logIn(token);
    announce("Logged in");
    show();
  } catch (error) {
    askForToken(error.message);
  }
});
document.getElementById("login-go").value = "ok";
addEventListener("kv-dict-login", (event) => askForToken(event.detail));

/** Log in with the token behind the address, which is never sent to anybody, and take it away. */
async function fromAddress() {
  const given = location.hash.match(/^#token=(.+)$/);
  if (!given) return;
  history.replaceState(null, "", "#/");
  await fetch("api/login", { method: "POST", body: JSON.stringify({ token: decoded(given[1]) }) }).catch(() => {});
}

addEventListener("hashchange", show);
await fromAddress();
show();
await begin(() => askForToken());
