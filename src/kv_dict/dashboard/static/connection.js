// The stream of events: opened, watched over, and opened again.

import { parse } from "./format.js";
import { state } from "./state.js";

const SILENCE = 3500; // milliseconds without a beat after which the stream is taken for dead
const HIDDEN = 15_000; // milliseconds in the background after which the stream is given back
const LONGEST = 8000;

let stream = null;
let watchdog = 0;
let retry = 0;
let attempts = 0;
let hiding = 0;
let onRefused = () => {};

/** Ask the dashboard; return the response. */
export async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (state.session.csrf) headers["X-CSRF-Token"] = state.session.csrf;
  const response = await fetch(path, { cache: "no-store", ...options, headers });
  if (response.status === 401) onRefused();
  return response;
}

/** Ask for JSON; an Error with what the dashboard said. */
export async function get(path) {
  const response = await ask(path);
  const text = await response.text();
  if (!response.ok) {
    let reason = text;
    try {
      reason = JSON.parse(text).error;
    } catch {
      // not from the dashboard: a proxy's page, say
    }
    throw new Error(reason || response.statusText);
  }
  return parse(text);
}

/** Learn what may be done, and begin. `refused` is called when a token is needed. */
export async function begin(refused) {
  onRefused = refused;
  document.addEventListener("visibilitychange", visibility);
  addEventListener("online", () => open());
  await open();
}

async function open() {
  close();
  try {
    state.session = await get("api/session");
    if (!state.session.may_read) {
      onRefused();
      return;
    }
    if (!state.id) {
      // Both at once: the fewer round trips to the first paint.
      const [sources, keys] = await Promise.all([get("api/sources"), get("api/keys")]);
      state.layouts(sources.sources); // first: it tells their order
      state.whole(keys);
      get("api/feed").then((feed) => state.earlier(feed.changes), () => {});
    }
  } catch {
    lost();
    return;
  }
  listen();
}

function listen() {
  stream = new EventSource(`api/events?since=${encodeURIComponent(state.id)}`);
  const mine = stream;
  const heard = (event) => {
    if (stream !== mine) return null;
    alive();
    if (event.lastEventId) state.id = event.lastEventId;
    return event.data ? parse(event.data) : null;
  };
  stream.addEventListener("open", () => alive());
  stream.addEventListener("snapshot", (event) => {
    const whole = heard(event);
    if (whole) {
      state.whole(whole);
      // Another process answers: what it shows may have been changed, too.
      get("api/sources").then((sources) => state.layouts(sources.sources), () => {});
    }
  });
  stream.addEventListener("changes", (event) => {
    const items = heard(event);
    if (items) state.changes(items);
  });
  stream.addEventListener("beat", (event) => {
    const beat = heard(event);
    if (beat) state.clock(beat.time);
  });
  stream.addEventListener("error", () => {
    if (stream === mine) lost();
  });
  watch();
}

function alive() {
  attempts = 0;
  if (!state.linked) {
    state.linked = true;
    state.tell("link");
  }
  watch();
}

function watch() {
  clearTimeout(watchdog);
  watchdog = setTimeout(lost, SILENCE);
}

function lost() {
  close();
  if (state.linked || !attempts) {
    state.linked = false;
    state.tell("link");
  }
  if (document.hidden) return;
  attempts += 1;
  const wait = Math.min(LONGEST, 400 * 1.6 ** attempts) * (0.7 + 0.6 * Math.random());
  clearTimeout(retry);
  retry = setTimeout(open, wait);
}

function close() {
  clearTimeout(retry);
  clearTimeout(watchdog);
  stream?.close();
  stream = null;
}

function visibility() {
  clearTimeout(hiding);
  if (document.hidden) {
    // A browser opens few connections to one host: a page that nobody sees needs none.
    hiding = setTimeout(close, HIDDEN);
  } else if (!stream) open();
}

/** Log in with a token; an Error if it is not the one. */
export async function logIn(token) {
  const response = await fetch("api/login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token }),
  });
  if (!response.ok) throw new Error((await response.json()).error);
  await open();
}
