// What changed, newest first.

import { h, setText } from "./dom.js";
import { brief, cut, moment, size, visible } from "./format.js";
import { state } from "./state.js";

const MOST = 200;

export class Changes {
  constructor({ query }) {
    this.text = query.get("q") ?? "";
    this.halted = false;
    this.first = null;
    this.search = h("input", { type: "search", placeholder: "Only keys that contain", "aria-label": "Only keys that contain", autocomplete: "off", oninput: () => this.searched() });
    this.search.value = this.text;
    this.pause = h("button", { "aria-pressed": "false", onclick: () => this.halt(!this.halted) }, "Pause");
    this.count = h("span", { class: "dim count" });
    this.list = h("ol", { class: "feed", "aria-label": "Changes, newest first" });
    this.none = h("p", { class: "empty" }, "Nothing has changed since this dashboard was started.");
    this.element = h("div", { class: "changes" }, h("div", { class: "toolbar" }, h("label", { class: "search" }, this.search), this.pause, this.count), this.none, this.list);
    this.rebuild();
  }

  title() {
    return "Changes";
  }

  halt(halted) {
    this.halted = halted;
    setText(this.pause, halted ? "Go on" : "Pause");
    this.pause.setAttribute("aria-pressed", String(halted));
    if (!halted) this.rebuild();
  }

  searched() {
    this.text = this.search.value;
    this.rebuild();
  }

  wanted(one) {
    return !this.text || one.key.toLowerCase().includes(this.text.toLowerCase());
  }

  rebuild() {
    const shown = state.feed.filter((one) => this.wanted(one)).slice(0, MOST);
    this.list.replaceChildren(...shown.map((one) => row(one, false)));
    this.first = state.feed[0] ?? null;
    this.seen = state.feedCount ?? 0;
    this.done(shown.length);
  }

  paint(dirty) {
    if (dirty.has("feed")) {
      this.rebuild();
      return;
    }
    const arrived = (state.feedCount ?? 0) - (this.seen ?? 0);
    if (this.halted) {
      setText(this.count, arrived ? `${arrived} more` : "");
      return;
    }
    if (!arrived) return;
    this.seen = state.feedCount;
    const fresh = state.feed.slice(0, Math.min(arrived, MOST)).filter((one) => this.wanted(one));
    this.list.prepend(...fresh.map((one) => row(one, true)));
    while (this.list.childElementCount > MOST) this.list.lastElementChild.remove();
    this.done(this.list.childElementCount);
  }

  done(number) {
    this.none.hidden = number > 0;
    setText(this.count, "");
  }

  tick() {}

  close() {}
}

function text(one) {
  if (!one || one.gone) return null;
  if (one.preview !== undefined) return `${visible(cut(one.preview, 100))}…  (${size(one.size)})`;
  return brief(one.value, 120);
}

/** Return a line for one change. */
export function row(one, fresh) {
  const before = text(one.previous);
  const after = text(one);
  const kind = one.gone ? "deleted" : before === null ? "new" : "changed";
  const element = h(
    "li",
    { class: fresh ? "fresh" : "", "data-kind": kind },
    h("time", {}, moment(one.when, true)),
    h("span", { class: "badge" }, kind),
    h("a", { class: "name", href: `#/key/${encodeURIComponent(one.source)}/${encodeURIComponent(one.key)}` }, visible(one.key)),
    state.sources.size > 1 ? h("span", { class: "origin" }, visible(one.source)) : null,
    h(
      "span",
      { class: "from-to" },
      before === null ? null : h("span", { class: "before" }, before),
      before === null || after === null ? null : h("span", { class: "arrow", "aria-label": "became" }, "→"),
      after === null ? null : h("span", { class: "after" }, after),
      one.skipped ? h("span", { class: "dim" }, `and ${one.skipped} in between`) : null,
    ),
  );
  if (fresh) setTimeout(() => element.classList.remove("fresh"), 1200);
  return element;
}
