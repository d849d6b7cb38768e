// The board: what people at a beamline look at first.

import { get } from "./connection.js";
import { row } from "./changes.js";
import { flash, h, setAttribute, setText, sparkline } from "./dom.js";
import { ago, asNumber, brief, moment, number, span, visible } from "./format.js";
import { age, People, RunCard } from "./run.js";
import { state } from "./state.js";

/** Return a part of a value; undefined if it is not there. */
function look(value, path) {
  let here = value;
  for (const step of path) {
    if (here === null || typeof here !== "object" || !Object.hasOwn(here, step)) return undefined;
    here = here[step];
  }
  return here;
}

/** Return the first rule that holds for a value, or null. */
export function judged(rules, value) {
  const numeric = asNumber(value);
  for (const rule of rules) {
    if (rule.below !== null && numeric !== null && typeof value !== "boolean" && numeric < rule.below) return rule;
    if (rule.above !== null && numeric !== null && typeof value !== "boolean" && numeric > rule.above) return rule;
    if (rule.equals !== null && alike(rule.equals, value)) return rule;
  }
  return null;
}

function alike(wanted, value) {
  if (typeof wanted === "string" && typeof value === "string") {
    return wanted.toLowerCase() === value.toLowerCase();
  }
  return wanted === value;
}

const LATEST = 6;
const LONG = 40; // characters from which on a wall folds a value into four lines

class Tile {
  constructor(source, layout) {
    this.source = source;
    this.layout = layout;
    this.value = h("div", { class: "value", dir: "auto" });
    this.unit = h("span", { class: "unit" }, layout.unit);
    this.badge = h("span", { class: "badge" });
    this.detail = h("div", { class: "detail", dir: "auto" });
    this.age = h("span", { class: "age" });
    this.spark = sparkline();
    this.label = h("div", { class: "label" }, layout.label || visible(layout.key[0]));
    this.reading = h("div", { class: "reading" }, this.value, this.unit, this.badge);
    this.element = h(
      "a",
      { class: `card tile${layout.size === 2 ? " wide" : ""}` },
      h("div", { class: "tile-head" }, this.label, this.age),
      this.reading,
      this.detail,
      this.spark.element,
    );
  }

  item() {
    for (const key of this.layout.key) {
      const item = this.source.keys.get(key);
      if (item) return item;
    }
    return null;
  }

  concerns(key) {
    return this.layout.key.includes(key) || this.layout.detail[0] === key;
  }

  update(changed) {
    const item = this.item();
    const { layout } = this;
    this.element.hidden = layout.optional && !item;
    const key = item ? item.key : layout.key[0];
    setAttribute(this.element, "href", `#/key/${encodeURIComponent(this.source.name)}/${encodeURIComponent(key)}`);
    const value = item && "value" in item ? look(item.value, layout.path) : undefined;
    const there = value !== undefined && value !== null;
    const numeric = there ? asNumber(value) : null;
    const rule = there ? judged(layout.rules, value) : null;
    const digits = typeof value === "number" ? layout.digits : null;
    let text = "not set";
    if (item && item.preview !== undefined) text = visible(item.preview);
    else if (there) text = digits === null ? naming(value) : number(value, digits);
    setText(this.value, text);
    setAttribute(this.value, "title", text.length > 20 ? text : null);
    const { line, half, quarter } = room(text, there ? layout.unit : "");
    this.reading.style.setProperty("--line", line);
    this.reading.style.setProperty("--chars", half);
    this.reading.style.setProperty("--quarter", quarter);
    this.element.classList.toggle("long", text.length > LONG);
    this.unit.hidden = !there || !layout.unit;
    setText(this.badge, rule?.text ?? "");
    this.badge.hidden = !rule?.text;
    setAttribute(this.element, "data-state", rule?.state ?? null);
    this.element.classList.toggle("unset", !there && !(item && item.preview !== undefined));
    this.updateDetail();
    this.plot(item, numeric);
    this.tick();
    if (changed && item && !item.quiet) flash(this.element);
  }

  updateDetail() {
    const [key, ...path] = this.layout.detail;
    const item = key === undefined ? null : this.source.keys.get(key);
    const value = item && "value" in item ? look(item.value, path) : undefined;
    const text = value === undefined || value === null ? "" : naming(value);
    setText(this.detail, text);
    this.detail.hidden = !text;
  }

  plot(item, numeric) {
    const wanted = this.layout.plot && !this.layout.path.length && typeof numeric === "number" && typeof item.value === "number";
    if (!wanted) {
      this.spark.element.toggleAttribute("hidden", true);
      return;
    }
    if (!item.samples) {
      item.samples = [[item.when ?? state.now(), numeric]];
      const query = `source=${encodeURIComponent(item.source)}&key=${encodeURIComponent(item.key)}`;
      get(`api/history?${query}`).then((told) => {
        const known = item.samples[0][0];
        const longest = told.stored.length > told.seen.length ? told.stored : told.seen;
        const older = longest.filter((one) => typeof one.value === "number" && one.time && one.time < known);
        item.samples.unshift(...older.slice(-200).map((one) => [one.time, one.value]));
        this.draw(item);
      }, () => {});
    }
    this.draw(item);
  }

  draw(item) {
    this.spark.element.toggleAttribute("hidden", item.samples.length < 2);
    this.spark.draw(item.samples, this.source.asOf());
  }

  tick() {
    const item = this.item();
    const seconds = age(item);
    const old = this.layout.max_age !== null && seconds !== null && seconds > this.layout.max_age;
    this.element.classList.toggle("old", old);
    setText(this.age, seconds === null ? "" : old ? `no news for ${span(seconds)}` : seconds < 3600 ? ago(seconds) : "");
    setAttribute(this.age, "title", item?.when ? `Changed ${moment(item.when)}` : null);
  }
}

/** Return how many characters wide a text is in one, two and four lines: its size is reckoned by it. */
function room(text, unit) {
  const longest = Math.max(...text.split(/\s+/).map((word) => word.length));
  const behind = unit ? unit.length * 0.6 + 0.8 : 0;
  const half = text.length > 12 ? Math.ceil(text.length / 2) + 2 : text.length;
  const quarter = Math.ceil(text.length / 4) + 3;
  const within = (n, most) => Math.min(most, Math.max(5, n)) + behind;
  return { line: within(text.length, 60), half: within(Math.max(longest, half), 60), quarter: within(quarter, 32) };
}

/** Return text for a value that may be a thing with a name. */
function naming(value) {
  if (value !== null && typeof value === "object" && typeof value.name === "string") return visible(value.name);
  return brief(value, 300);
}

class Panel {
  constructor(source, several, wall) {
    this.source = source;
    this.name = h("h2", {}, visible(source.title));
    this.health = h("span", { class: "chip" });
    this.run = new RunCard(source);
    this.grid = h("div", { class: "tiles" });
    this.people = new People(source);
    this.empty = h("p", { class: "empty", hidden: true });
    this.news = h("ol", { class: "feed", "aria-label": "Latest changes" });
    this.latest = h("section", { class: "latest" }, h("h2", {}, "Latest changes"), this.news);
    this.head = h("div", { class: "panel-head" }, this.name, this.health);
    this.element = h("section", { class: "panel", "aria-label": visible(source.title) }, this.head, this.run.element, this.grid, this.empty, this.people.element, wall ? null : this.latest);
    this.head.classList.toggle("single", !several);
    this.build();
  }

  build() {
    this.layout = this.source.layout;
    setText(this.name, visible(this.source.title));
    this.tiles = this.layout.tiles.map((layout) => new Tile(this.source, layout));
    this.grid.replaceChildren(...this.tiles.map((tile) => tile.element));
    this.update();
  }

  update(changed = null) {
    if (this.layout !== this.source.layout) {
      this.build();
      return;
    }
    const { health } = this.source;
    for (const tile of this.tiles) {
      const keys = changed?.filter((item) => tile.concerns(item.key));
      if (!changed || keys.length) tile.update(Boolean(keys?.some((item) => !item.quiet && !item.gone)));
    }
    this.run.update();
    this.people.update();
    this.updateNews();
    chip(this.health, health);
    this.element.classList.toggle("stale", !this.source.live);
    this.empty.hidden = this.source.keys.size > 0 || health.state !== "live";
    setText(this.empty, "Nothing is stored here yet. What any session writes appears at once.");
  }

  updateNews() {
    const news = state.feed.filter((one) => one.source === this.source.name).slice(0, LATEST);
    this.latest.hidden = !news.length;
    if (news[0] === this.newest) return;
    const known = this.newest;
    this.newest = news[0];
    this.news.replaceChildren(...news.map((one, n) => row(one, n === 0 && known !== undefined)));
  }

  tick() {
    for (const tile of this.tiles) tile.tick();
    this.run.update();
    this.people.update();
    chip(this.health, this.source.health);
  }
}

/** Show the health of a source in a few words. */
export function chip(element, health) {
  const seconds = state.now() - health.since;
  const texts = {
    live: ["ok", "Live"],
    stale: ["alarm", `Store away · ${span(seconds)}`],
    connecting: ["warn", "Connecting"],
    failed: ["alarm", "Not usable"],
  };
  const [look, text] = state.linked ? (texts[health.state] ?? ["off", health.state]) : ["alarm", "No connection"];
  setAttribute(element, "data-state", look);
  setText(element, text);
  setAttribute(element, "title", visible([health.url, health.reason].filter(Boolean).join("\n")) || null);
}

/** The view: a panel for each source; `wall` for people who stand five metres away. */
export class Board {
  constructor({ wall }) {
    this.panels = new Map();
    this.wall = wall;
    this.clock = h("time", { class: "clock" });
    this.element = h("div", { class: wall ? "board wall" : "board" });
    if (wall) this.element.append(h("a", { class: "leave", href: "#/", "aria-label": "Leave the wall mode" }, this.clock));
    this.sync();
  }

  title() {
    return "";
  }

  sync() {
    const several = state.sources.size > 1;
    for (const source of state.sources.values()) {
      if (this.panels.has(source)) continue;
      const panel = new Panel(source, several, this.wall);
      this.panels.set(source, panel);
      this.element.append(panel.element);
    }
    for (const panel of this.panels.values()) panel.head.classList.toggle("single", !several);
    setAttribute(this.element, "data-sources", String(Math.min(4, this.panels.size)));
  }

  paint(dirty) {
    this.sync();
    const everything = dirty.has("layout") || dirty.has("link");
    const changes = new Map();
    for (const what of dirty) {
      if (what.part) {
        const source = state.sources.get(what.source);
        if (!changes.has(source)) changes.set(source, []);
        if (what.part === "metadata") changes.get(source).push(what);
      } else if (this.panels.has(what) && !changes.has(what)) changes.set(what, []);
    }
    for (const [source, panel] of this.panels) {
      if (everything) panel.update();
      else if (changes.has(source)) panel.update(changes.get(source));
    }
  }

  tick() {
    for (const panel of this.panels.values()) panel.tick();
    setText(this.clock, new Date(state.now() * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" }));
  }

  close() {}
}
