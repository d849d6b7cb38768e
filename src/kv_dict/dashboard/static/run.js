// The RunEngine of a source: state, plan, progress. And who is there, and in control.

import { h, setAttribute, setText } from "./dom.js";
import { ago, brief, duration, moment, visible } from "./format.js";
import { state } from "./state.js";

const LOOKS = {
  running: ["ok", "Running"],
  idle: ["off", "Idle"],
  pausing: ["warn", "Pausing"],
  paused: ["warn", "Paused"],
  suspending: ["warn", "Suspending"],
  suspended: ["warn", "Suspended"],
  stopping: ["warn", "Stopping"],
  aborting: ["alarm", "Aborting"],
  halting: ["alarm", "Halting"],
  panicked: ["alarm", "Panicked"],
  ended: ["off", "Session ended"],
};
const SLACK = 5; // seconds by which clocks may differ

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** Return how long ago an item was written, in seconds; null if nobody knows. */
export function age(item) {
  return item && item.when !== null ? Math.max(0, state.now() - item.when) : null;
}

/** Return the statuses of a source's RunEngines, the busiest first. */
export function statuses(source) {
  const found = [];
  for (const item of source.status.values()) {
    if (isObject(item.value) && typeof item.value.state === "string") {
      const every = Number(item.value.renewed_every) || 0;
      const seconds = item.when === null ? 0 : source.asOf() - item.when;
      const silent = every > 0 && seconds > 3 * every + SLACK;
      found.push({ ...item.value, name: item.key, silent: silent && item.value.state !== "ended" });
    }
  }
  const rank = (one) => (one.silent ? 3 : one.state === "ended" ? 2 : one.state === "idle" ? 1 : 0);
  return found.sort((a, b) => rank(a) - rank(b) || (b.updated ?? 0) - (a.updated ?? 0));
}

/** The card at the top of a board. */
export class RunCard {
  constructor(source) {
    this.source = source;
    this.word = h("span", { class: "word" });
    this.pill = h("div", { class: "pill", "data-state": "off" }, h("span", { class: "glyph", "aria-hidden": "true" }), this.word);
    this.plan = h("div", { class: "plan" });
    this.scan = h("div", { class: "scan" });
    this.fill = h("div", { class: "fill" });
    this.track = h("div", { class: "track", role: "progressbar", "aria-label": "Progress of the run", "aria-valuemin": "0" }, this.fill);
    this.points = h("span");
    this.timing = h("span", { class: "dim" });
    this.progress = h("div", { class: "progress" }, this.track, h("div", { class: "under" }, this.points, this.timing));
    this.note = h("p", { class: "note" });
    this.element = h(
      "section",
      { class: "card run", "aria-label": "RunEngine" },
      h("div", { class: "run-head" }, this.pill, h("div", { class: "what" }, this.plan, this.note), this.scan),
      this.progress,
    );
  }

  update() {
    const [one] = statuses(this.source);
    const scan = this.source.keys.get("scan_id");
    const scanId = one?.scan_id ?? scan?.value;
    setText(this.scan, scanId === undefined || scanId === null ? "" : `#${brief(scanId, 20)}`);
    if (!one) {
      this.look("off", "No RunEngine");
      setText(this.plan, "");
      setText(this.note, "None reports here: RunStatus(RE) does.");
      this.progress.hidden = true;
      return;
    }
    const shown = one.suspended && one.state === "running" ? "suspended" : one.state;
    const [look, word] = LOOKS[shown] ?? ["busy", visible(shown)];
    this.look(look, one.silent ? `${word}?` : word);
    this.element.classList.toggle("silent", one.silent);
    setText(this.plan, one.plan_name ? visible(String(one.plan_name)) : "");
    setText(this.note, this.remark(one));
    this.note.classList.toggle("bad", one.exit_status === "fail");
    this.bar(one);
  }

  look(look, word) {
    setAttribute(this.pill, "data-state", look);
    setText(this.word, word);
  }

  remark(one) {
    if (one.silent) return `No sign of it since ${moment(one.updated)}`;
    const busy = !["idle", "ended"].includes(one.state);
    if (busy) {
      const list = Object.entries(isObject(one.plan_args) ? one.plan_args : {});
      return visible(list.slice(0, 8).map(([name, text]) => `${name}=${text}`).join("  "));
    }
    if (one.exit_status === "success") return "The last run succeeded";
    if (one.exit_status) {
      const how = { abort: "was aborted", fail: "failed" }[one.exit_status] ?? one.exit_status;
      return visible(`The last run ${how}${one.last_error ? `: ${one.last_error}` : ""}`);
    }
    return "";
  }

  bar(one) {
    const done = Number(one.points_done) || 0;
    const expected = Number(one.points_expected) || 0;
    const busy = !["idle", "ended"].includes(one.state);
    this.progress.hidden = !busy && !done;
    setAttribute(this.progress, "data-state", this.pill.dataset.state);
    const part = expected ? Math.min(1, done / expected) : null;
    this.fill.style.width = part === null ? (busy && one.runs_open ? "100%" : "0") : `${(part * 100).toFixed(2)}%`;
    this.track.classList.toggle("unknown", part === null && busy);
    setAttribute(this.track, "aria-valuemax", expected || null);
    setAttribute(this.track, "aria-valuenow", expected ? done : null);
    setText(this.points, expected ? `${done} of ${expected} points` : done ? `${done} points` : "");
    const times = [];
    if (busy && one.plan_started) times.push(`${duration(this.source.asOf() - one.plan_started)} since the start`);
    if (busy && one.estimated_finish) {
      const left = one.estimated_finish - this.source.asOf();
      if (left > 0) times.push(`about ${duration(left)} left`);
    }
    setText(this.timing, times.join("  ·  "));
  }
}

/** Who is there, who is in control, and what changed last. */
export class People {
  constructor(source) {
    this.source = source;
    this.baton = h("div", { class: "baton" });
    this.sessions = h("ul", { class: "sessions", "aria-label": "Sessions" });
    this.last = h("a", { class: "last" });
    this.element = h("footer", { class: "people" }, this.baton, this.sessions, this.last);
  }

  update() {
    this.updateBaton();
    this.updateSessions();
    this.updateLast();
  }

  updateBaton() {
    const records = [...this.source.baton.values()].filter((item) => isObject(item.value));
    const held = records.find((item) => isObject(item.value.holder)) ?? records[0];
    this.baton.hidden = !held;
    if (!held) return;
    const { holder, since, requests } = held.value;
    const asked = Array.isArray(requests) ? requests.length : 0;
    setText(
      this.baton,
      isObject(holder)
        ? `In control: ${who(holder)}${since ? `, since ${moment(since)}` : ""}${asked ? ` · ${asked} asked for it` : ""}`
        : "Nobody is in control",
    );
    this.baton.classList.toggle("free", !isObject(holder));
  }

  updateSessions() {
    const there = [...this.source.presence.values()]
      .filter((item) => isObject(item.value) && isObject(item.value.session))
      .filter((item) => item.when === null || this.source.asOf() - item.when < 3 * (Number(item.value.every) || 5) + SLACK)
      .map((item) => item.value.session);
    const texts = there.map((one) => who(one)).sort();
    if (texts.join("\n") === this.shown) return;
    this.shown = texts.join("\n");
    this.sessions.replaceChildren(...texts.slice(0, 12).map((text) => h("li", { title: text }, text)));
    if (texts.length > 12) this.sessions.append(h("li", {}, `and ${texts.length - 12} more`));
  }

  updateLast() {
    const { last, name } = this.source;
    this.last.hidden = !last;
    if (!last) return;
    setAttribute(this.last, "href", `#/key/${encodeURIComponent(name)}/${encodeURIComponent(last.key)}`);
    setText(this.last, `Last change: ${visible(last.key)}, ${ago(age(last))}`);
  }
}

function who(session) {
  const program = session.program ? ` (${session.program})` : "";
  return visible(`${session.user ?? "?"} on ${session.host ?? "?"}${program}`);
}
