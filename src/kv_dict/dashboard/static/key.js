// One key: its value, its history as a plot or a timeline, and editing it.

import { ask, get } from "./connection.js";
import { copy, flash, h, setAttribute, setText, svg } from "./dom.js";
import { edit } from "./editor.js";
import { ago, asNumber, brief, cut, kindOf, moment, pretty, size, visible } from "./format.js";
import { pathText } from "./keys.js";
import { age } from "./run.js";
import { state } from "./state.js";

const MOST_TEXT = 200_000;
const MOST_STATES = 300;

let plotting = null;

/** Load uPlot when a plot is first wanted. */
function plotter() {
  plotting ??= new Promise((resolve, reject) => {
    document.head.append(
      h("link", { rel: "stylesheet", href: "static/vendor/uPlot.css" }),
      h("script", { src: "static/vendor/uPlot.js", onload: () => resolve(window.uPlot), onerror: () => reject(new Error("uPlot did not load")) }),
    );
  });
  return plotting;
}

/** Return what the store kept and what was seen here, oldest first; each state once. */
function merged(stored, seen) {
  const name = (one) => `${Math.round((one.time ?? 0) * 1000)} ${JSON.stringify(one.value)}`;
  const known = new Set(stored.map(name));
  const rest = seen.filter((one) => !known.has(name(one)));
  return [...stored, ...rest].sort((a, b) => (a.time ?? 0) - (b.time ?? 0));
}

export class Key {
  constructor({ parts: [sourceName, key] }) {
    this.sourceName = sourceName ?? "";
    this.key = key ?? "";
    this.states = []; // oldest first: {value | gone, time}
    this.loaded = false;
    this.full = null; // a large value, once it was asked for
    this.name = h("h2", { class: "key-name", dir: "auto" }, visible(this.key));
    this.facts = h("dl", { class: "facts" });
    this.value = h("pre", { class: "json", tabindex: "0", "aria-label": "Value" });
    this.big = h("div", { class: "big-number" });
    this.more = h("button", { class: "all", hidden: true, onclick: () => this.loadAll() }, "Load all of it");
    this.editButton = h("button", { hidden: true, onclick: () => this.edit() }, "Edit");
    this.plotBox = h("div", { class: "plot", role: "img" });
    this.plotCard = h("section", { class: "card", hidden: true, "aria-label": "Plot" }, this.plotBox);
    this.timeline = h("ol", { class: "timeline" });
    this.historyNote = h("p", { class: "dim" });
    this.element = h(
      "div",
      { class: "key" },
      h(
        "div",
        { class: "key-head" },
        h("a", { class: "back", href: "#/keys", "aria-label": "All keys" }, svg("svg", { viewBox: "0 0 20 20", "aria-hidden": "true" }, svg("path", { d: "M12 4l-6 6 6 6" }))),
        this.name,
        h("div", { class: "row" }, h("button", { onclick: (event) => copy(this.text(), event.target) }, "Copy value"), h("button", { onclick: (event) => copy(pathText(this.key, []), event.target) }, "Copy path"), this.editButton),
      ),
      h("div", { class: "key-body" }, h("section", { class: "card", "aria-label": "Present value" }, this.big, this.value, this.more, this.facts), this.plotCard, h("section", { class: "card history", "aria-label": "History" }, h("h3", {}, "History"), this.historyNote, this.timeline)),
    );
    this.update();
    this.load();
  }

  title() {
    return this.key;
  }

  get source() {
    return state.sources.get(this.sourceName);
  }

  get item() {
    return this.source?.keys.get(this.key);
  }

  query() {
    return `source=${encodeURIComponent(this.sourceName)}&key=${encodeURIComponent(this.key)}`;
  }

  text() {
    const { item } = this;
    if (!item) return "";
    const value = this.full ?? item.value;
    if (value === undefined) return item.preview;
    return typeof value === "string" ? value : pretty(value);
  }

  // -- the present -------------------------------------------------------------------------------

  update() {
    const { item } = this;
    const large = item && item.value === undefined && this.full === null;
    const value = this.full ?? item?.value;
    let text = "There is no such key now.";
    if (item) text = large ? `${item.preview}…` : typeof value === "string" ? value : pretty(value);
    const number = item && typeof value === "number";
    this.big.hidden = !number;
    if (number) setText(this.big, brief(value));
    this.value.hidden = Boolean(number);
    setText(this.value, visible(cut(text, MOST_TEXT)));
    this.value.classList.toggle("prose", typeof value === "string");
    this.more.hidden = !large;
    this.editButton.hidden = !(state.session.may_write || state.session.writable) || !this.source;
    setText(this.editButton, item ? "Edit" : "Create");
    this.showFacts(large ? "large" : item ? kindOf(value) : null);
    this.element.classList.toggle("stale", !this.source?.live);
  }

  showFacts(kind) {
    const { item } = this;
    const facts = item
      ? [kind === "large" ? ["Size", size(item.size)] : ["Kind", kind], ["Changed", item.when === null ? "unknown" : `${moment(item.when)}, ${ago(age(item))}`], ["Revision", item.revision ?? "none"], ["Source", this.sourceName]]
      : [["Source", this.sourceName]];
    const texts = JSON.stringify(facts);
    if (texts === this.factsShown) return;
    this.factsShown = texts;
    this.facts.replaceChildren(...facts.map(([name, content]) => h("div", {}, h("dt", {}, name), h("dd", {}, visible(String(content))))));
  }

  async loadAll() {
    this.more.disabled = true;
    try {
      this.full = await get(`api/value?${this.query()}`);
    } catch (error) {
      setText(this.more, error.message);
    }
    this.more.disabled = false;
    this.update();
  }

  // -- the past ----------------------------------------------------------------------------------

  async load() {
    let told;
    try {
      told = await get(`api/history?${this.query()}`);
    } catch (error) {
      this.loaded = true;
      setText(this.historyNote, error.message);
      return;
    }
    const later = this.states; // changes that came meanwhile
    this.states = merged(told.stored, told.seen);
    const last = this.states[this.states.length - 1]?.time ?? 0;
    this.states.push(...later.filter((one) => one.time > last));
    this.loaded = true;
    setText(this.historyNote, told.kept_by_store === false ? "The store keeps no earlier values: this is what changed since the dashboard was started." : told.error ?? "");
    this.historyNote.hidden = !this.historyNote.textContent;
    this.draw();
  }

  draw() {
    const shown = this.states.slice(-MOST_STATES);
    this.timeline.replaceChildren(...shown.map((one, n) => this.moment(one, shown[n - 1])).reverse());
    if (!shown.length && this.loaded) this.timeline.replaceChildren(h("li", { class: "dim" }, "No earlier value is known."));
    const numbers = this.states.filter((one) => !one.gone && asNumber(one.value) !== null && typeof one.value !== "boolean" && one.time);
    const { item } = this;
    const wanted = numbers.length >= 2 && item && asNumber(item.value) !== null && typeof item.value !== "boolean";
    this.plotCard.hidden = !wanted;
    if (wanted) this.plot(numbers);
  }

  moment(one, before) {
    const same = before && !before.gone && !one.gone && JSON.stringify(before.value) === JSON.stringify(one.value);
    return h(
      "li",
      { "data-kind": one.gone ? "deleted" : "" },
      h("time", {}, one.time ? moment(one.time, true) : "unknown time"),
      h("span", { class: "after", dir: "auto" }, one.gone ? "deleted" : brief(one.value, 400)),
      same ? h("span", { class: "dim" }, "written again") : null,
    );
  }

  async plot(numbers) {
    const times = numbers.map((one) => one.time);
    const values = numbers.map((one) => asNumber(one.value));
    const data = [[...times, state.now()], [...values, values[values.length - 1]]];
    this.plotBox.setAttribute("aria-label", `${values.length} values from ${Math.min(...values)} to ${Math.max(...values)}`);
    let uPlot;
    try {
      uPlot = await plotter();
    } catch {
      this.plotCard.hidden = true;
      return;
    }
    const theme = document.documentElement.dataset.theme;
    if (this.chart && this.chartTheme === theme) {
      this.chart.setData(data);
      return;
    }
    this.chart?.destroy();
    this.chartTheme = theme;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    this.chart = new uPlot(
      {
        width: this.plotBox.clientWidth || 600,
        height: 260,
        cursor: { drag: { x: true, y: false } },
        legend: { show: true, live: true },
        series: [
          { label: "time", value: (_, time) => (time ? moment(time) : "") },
          { label: cut(visible(this.key), 40), stroke: colour("--accent"), width: 2, fill: colour("--accent-faint"), paths: uPlot.paths.stepped({ align: 1 }), points: { show: values.length < 80, size: 5 }, value: (_, value) => (value === null ? "" : brief(value)) },
        ],
        axes: [{ ...axis, values: (_, ticks) => ticks.map((tick) => moment(tick).replace(/^\d{4}-/, "")) , space: 110 }, { ...axis, size: 64 }],
      },
      data,
      this.plotBox,
    );
    this.resized ??= new ResizeObserver(() => this.chart?.setSize({ width: this.plotBox.clientWidth, height: 260 }));
    this.resized.observe(this.plotBox);
  }

  // -- the rest ----------------------------------------------------------------------------------

  paint(dirty) {
    let mine = false;
    let changed = false;
    for (const what of dirty) {
      if (what.part !== "metadata" || what.source !== this.sourceName || what.key !== this.key) continue;
      mine = true;
      this.full = null;
      if (what.quiet) continue; // it was there before this page: the history has it
      changed = true;
      const time = what.when ?? state.now();
      this.states.push(what.gone ? { gone: true, time } : { value: what.value ?? what.preview, time });
    }
    if (mine || dirty.has("link") || dirty.has("layout") || dirty.has(this.source)) this.update();
    if (changed) {
      flash(this.value);
      flash(this.big);
    }
    if (mine && this.loaded) this.draw();
  }

  tick() {
    this.showFacts(this.item && this.item.value === undefined && this.full === null ? "large" : this.item ? kindOf(this.full ?? this.item.value) : null);
    if (this.chart && document.documentElement.dataset.theme !== this.chartTheme) this.draw();
  }

  async edit() {
    const changed = await edit({ source: this.sourceName, key: this.key, query: this.query(), ask });
    if (changed) setText(this.historyNote, "");
  }

  close() {
    this.resized?.disconnect();
    this.chart?.destroy();
  }
}

