// All keys, as a list whose nested values unfold. Only the rows that are seen exist.

import { copy, flash, h, setAttribute, setText } from "./dom.js";
import { ago, brief, isContainer, kindOf, moment, pretty, size, visible } from "./format.js";
import { age } from "./run.js";
import { state } from "./state.js";

const MOST_PARTS = 500;
const MARGIN = 8; // rows beyond what is seen
const FRESH = 1200;

const unfolded = new Set(); // stays while other views are looked at
let filter = { text: "", source: "" };

/** Return how a part is reached in Python. */
export function pathText(key, path) {
  return `md[${JSON.stringify(key)}]${path.map((step) => `[${typeof step === "number" ? step : JSON.stringify(step)}]`).join("")}`;
}

export class Keys {
  constructor({ query }) {
    if (query.has("q")) filter.text = query.get("q");
    if (query.has("source")) filter.source = query.get("source");
    this.rows = [];
    this.index = new Map();
    this.shown = new Map();
    this.active = null;
    this.structure = -1;
    this.search = h("input", {
      type: "search", placeholder: "Search keys and values", "aria-label": "Search keys and values",
      autocomplete: "off", spellcheck: "false", oninput: () => this.searched(), onkeydown: (event) => this.searchKey(event),
    });
    this.search.value = filter.text;
    this.choice = h("select", { "aria-label": "Source", onchange: () => this.chosen() });
    this.count = h("span", { class: "dim count", role: "status" });
    this.space = h("div", { class: "space", role: "presentation" });
    this.tree = h("div", {
      class: "tree", role: "treegrid", tabindex: "0", "aria-label": "Keys",
      onscroll: () => this.place(), onkeydown: (event) => this.key(event), onclick: (event) => this.click(event),
      onfocus: () => this.focused(), ondblclick: (event) => this.open(this.at(event)),
    }, this.space);
    this.none = h("p", { class: "empty", hidden: true });
    this.element = h("div", { class: "keys" }, h("div", { class: "toolbar" }, h("label", { class: "search" }, this.search, h("kbd", { "aria-hidden": "true" }, "/")), this.choice, this.count), this.none, this.tree);
    this.resized = new ResizeObserver(() => this.place());
    this.resized.observe(this.tree);
    this.rebuild();
  }

  title() {
    return "Keys";
  }

  // -- which rows there are ----------------------------------------------------------------------

  rebuild() {
    this.structure = state.structure;
    const names = [...state.sources.keys()];
    if (!names.includes(filter.source)) filter.source = "";
    this.choice.hidden = names.length < 2;
    if (this.choice.options.length !== names.length + 1) {
      this.choice.replaceChildren(h("option", { value: "" }, "All sources"), ...names.map((name) => h("option", { value: name }, visible(name))));
    }
    this.choice.value = filter.source;
    const wanted = filter.text.trim().toLowerCase();
    const rows = [];
    let total = 0;
    for (const source of state.sources.values()) {
      if (filter.source && source.name !== filter.source) continue;
      const keys = [...source.keys.keys()].sort((a, b) => (a < b ? -1 : 1));
      total += keys.length;
      for (const key of keys) {
        const item = source.keys.get(key);
        if (wanted && !matches(item, wanted)) continue;
        const id = `${source.name}\n${key}`;
        rows.push({ id, item, source, key, path: [], name: key, value: item.value, level: 1 });
        if (unfolded.has(id) && isContainer(item.value)) this.parts(rows, rows[rows.length - 1]);
      }
    }
    this.total = total;
    this.rows = rows;
    this.index = new Map(rows.map((row, number) => [row.id, number]));
    const found = rows.filter((row) => row.level === 1).length;
    setText(this.count, wanted ? `${found} of ${total}` : `${total} ${total === 1 ? "key" : "keys"}`);
    this.none.hidden = found > 0;
    setText(this.none, total ? `No key contains “${visible(filter.text)}”.` : state.linked ? "Nothing is stored here yet. What any session writes appears at once." : "Waiting for the dashboard.");
    setAttribute(this.tree, "aria-rowcount", String(rows.length));
    this.mark();
    this.place(true);
  }

  parts(rows, row) {
    const entries = Object.entries(row.value);
    const list = Array.isArray(row.value);
    for (const [name, value] of entries.slice(0, MOST_PARTS)) {
      const step = list ? Number(name) : name;
      const path = [...row.path, step];
      const id = `${row.id}\n${JSON.stringify(step)}`;
      rows.push({ ...row, id, path, name, value, level: row.level + 1, step: list });
      if (unfolded.has(id) && isContainer(value)) this.parts(rows, rows[rows.length - 1]);
    }
    if (entries.length > MOST_PARTS) {
      const rest = `and ${entries.length - MOST_PARTS} more, on the page of the key`;
      rows.push({ ...row, id: `${row.id}\n…`, name: "…", value: rest, level: row.level + 1, step: true, rest: true });
    }
  }

  // -- which of them exist -----------------------------------------------------------------------

  rowHeight() {
    return parseFloat(getComputedStyle(this.tree).getPropertyValue("--row")) || 34;
  }

  place(again = false) {
    const height = this.rowHeight();
    this.space.style.height = `${this.rows.length * height}px`;
    const first = Math.max(0, Math.floor(this.tree.scrollTop / height) - MARGIN);
    const last = Math.min(this.rows.length, Math.ceil((this.tree.scrollTop + (this.tree.clientHeight || 900)) / height) + MARGIN);
    const wanted = new Set();
    for (let number = first; number < last; number += 1) {
      const row = this.rows[number];
      wanted.add(row.id);
      let line = this.shown.get(row.id);
      const isNew = !line;
      if (isNew) {
        line = new Line(row);
        this.shown.set(row.id, line);
        this.space.append(line.element);
      }
      if (isNew || again || line.row !== row) line.update(row);
      line.at(number, height);
      line.select(row.id === this.active);
    }
    for (const [id, line] of this.shown) {
      if (!wanted.has(id)) {
        line.element.remove();
        this.shown.delete(id);
      }
    }
  }

  paint(dirty) {
    let again = this.structure !== state.structure || dirty.has("link") || dirty.has("layout");
    const changed = [];
    for (const what of dirty) {
      if (what.part !== "metadata" || what.gone) continue;
      changed.push(what);
      // What is searched for, and what is unfolded, may be there now, or no longer.
      if (filter.text || unfolded.has(`${what.source}\n${what.key}`)) again = true;
    }
    if (again) this.rebuild();
    for (const item of changed) {
      const number = this.index.get(`${item.source}\n${item.key}`);
      if (number === undefined) continue;
      const row = this.rows[number];
      row.item = item;
      row.value = item.value;
      this.shown.get(row.id)?.update(row);
    }
    this.mark();
  }

  mark() {
    this.element.classList.toggle("stale", [...state.sources.values()].some((one) => !one.live));
  }

  tick() {
    for (const line of this.shown.values()) line.tick();
  }

  // -- what people do ----------------------------------------------------------------------------

  searched() {
    filter.text = this.search.value;
    const query = filter.text ? `?q=${encodeURIComponent(filter.text)}` : "";
    history.replaceState(null, "", `#/keys${query}`);
    this.tree.scrollTop = 0;
    this.rebuild();
  }

  searchKey(event) {
    if (event.key === "ArrowDown" || event.key === "Enter") {
      event.preventDefault();
      this.tree.focus();
    } else if (event.key === "Escape") {
      event.stopPropagation();
      if (this.search.value) {
        this.search.value = "";
        this.searched();
      } else this.tree.focus();
    }
  }

  chosen() {
    filter.source = this.choice.value;
    this.rebuild();
  }

  focused() {
    if (!this.index.has(this.active) && this.rows.length) this.select(0);
  }

  at(event) {
    const element = event.target.closest(".line");
    return element ? this.rows[this.index.get(element.rowId)] : null;
  }

  click(event) {
    const row = this.at(event);
    if (!row) return;
    this.select(this.index.get(row.id), false);
    if (event.target.closest(".copy")) copy(copied(row), event.target.closest(".copy"));
    else if (event.target.closest(".fold")) this.fold(row);
  }

  select(number, scroll = true) {
    const row = this.rows[Math.max(0, Math.min(this.rows.length - 1, number))];
    if (!row) return;
    this.active = row.id;
    if (scroll) {
      const height = this.rowHeight();
      const top = this.index.get(row.id) * height;
      if (top < this.tree.scrollTop) this.tree.scrollTop = top;
      else if (top + height > this.tree.scrollTop + this.tree.clientHeight) this.tree.scrollTop = top + height - this.tree.clientHeight;
    }
    this.place();
    const line = this.shown.get(row.id);
    if (line) setAttribute(this.tree, "aria-activedescendant", line.element.id);
  }

  fold(row, open = !unfolded.has(row.id)) {
    if (!isContainer(row.value)) return;
    if (open) unfolded.add(row.id);
    else unfolded.delete(row.id);
    this.rebuild();
  }

  open(row) {
    if (row) location.hash = `#/key/${encodeURIComponent(row.source.name)}/${encodeURIComponent(row.key)}`;
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const number = this.index.get(this.active) ?? -1;
    const row = this.rows[number];
    const page = Math.max(1, Math.floor(this.tree.clientHeight / this.rowHeight()) - 1);
    const moves = { ArrowDown: number + 1, ArrowUp: number - 1, PageDown: number + page, PageUp: number - page, Home: 0, End: this.rows.length - 1 };
    if (event.key in moves) this.select(moves[event.key]);
    else if (event.key === "ArrowRight" && row) {
      if (unfolded.has(row.id)) this.select(number + 1);
      else this.fold(row, true);
    } else if (event.key === "ArrowLeft" && row) {
      if (unfolded.has(row.id)) this.fold(row, false);
      else if (row.level > 1) this.select(this.index.get(row.id.slice(0, row.id.lastIndexOf("\n"))));
    } else if (event.key === "Enter") this.open(row);
    else if (event.key === " " && row) this.fold(row);
    else if (event.key === "y" && row) copy(copied(row));
    else if (event.key === "p" && row) copy(pathText(row.key, row.path));
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  close() {
    this.resized.disconnect();
  }
}

function matches(item, wanted) {
  if (item.key.toLowerCase().includes(wanted)) return true;
  if (item.searchable === undefined) {
    item.searchable = (item.preview ?? (typeof item.value === "string" ? item.value : JSON.stringify(item.value) ?? "")).toLowerCase();
  }
  return item.searchable.includes(wanted);
}

function copied(row) {
  if (row.value === undefined) return row.item.preview ?? "";
  return typeof row.value === "string" ? row.value : pretty(row.value);
}

let lines = 0;

/** One row. */
class Line {
  constructor(row) {
    this.fold = h("span", { class: "fold", "aria-hidden": "true" });
    this.name = h("a", { class: "name", tabindex: "-1" });
    this.value = h("span", { class: "text", role: "gridcell" });
    this.when = h("span", { class: "when", role: "gridcell" });
    this.copy = h("button", { class: "copy", tabindex: "-1", title: "Copy the value (y)", "aria-label": "Copy the value" });
    this.origin = h("span", { class: "origin" });
    lines += 1;
    this.element = h("div", { class: "line", role: "row", id: `line${lines}` }, h("span", { class: "cell", role: "gridcell" }, this.fold, this.name, this.origin), this.value, this.when, h("span", { role: "gridcell" }, this.copy));
    this.element.rowId = row.id;
  }

  at(number, height) {
    if (this.number === number && this.height === height) return;
    this.number = number;
    this.height = height;
    this.element.style.transform = `translateY(${number * height}px)`;
    setAttribute(this.element, "aria-rowindex", String(number + 1));
  }

  select(active) {
    this.element.classList.toggle("active", active);
    setAttribute(this.element, "aria-selected", String(active));
  }

  update(row) {
    const before = this.row;
    this.row = row;
    const folds = isContainer(row.value);
    setText(this.name, visible(row.name));
    if (row.level === 1) setAttribute(this.name, "href", `#/key/${encodeURIComponent(row.source.name)}/${encodeURIComponent(row.key)}`);
    setText(this.origin, row.level === 1 && !filter.source && state.sources.size > 1 ? visible(row.source.name) : "");
    this.element.classList.toggle("part", row.level > 1);
    this.element.classList.toggle("step", Boolean(row.step));
    setAttribute(this.element, "aria-level", String(row.level));
    setAttribute(this.element, "aria-expanded", folds ? String(unfolded.has(row.id)) : null);
    this.element.style.setProperty("--level", row.level - 1);
    this.fold.classList.toggle("folds", folds);
    const large = row.value === undefined;
    setText(this.value, large ? `${visible(row.item.preview ?? "")}…  (${size(row.item.size ?? 0)})` : brief(row.value, 240));
    setAttribute(this.value, "data-kind", large ? "large" : kindOf(row.value));
    this.tick();
    const { item } = row;
    if (item.at && !item.quiet && performance.now() - item.at < FRESH && (!before || before.value !== row.value || item !== this.flashed) && row.level === 1) {
      this.flashed = item;
      flash(this.element);
    }
  }

  tick() {
    if (this.row.level > 1) {
      setText(this.when, "");
      return;
    }
    const seconds = age(this.row.item);
    setText(this.when, seconds === null ? "" : ago(seconds));
    setAttribute(this.when, "title", this.row.item.when ? moment(this.row.item.when) : null);
  }
}
