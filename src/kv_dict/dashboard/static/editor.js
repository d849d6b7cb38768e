// Editing a value: JSON, the difference, and then compare-and-set.

import { h, setText } from "./dom.js";
import { visible } from "./format.js";
import { state } from "./state.js";

/** Return the lines of two texts: [" " | "-" | "+", line]. */
export function difference(before, after) {
  const a = before === "" ? [] : before.split("\n");
  const b = after === "" ? [] : after.split("\n");
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail += 1;
  const [x, y] = [a.slice(head, a.length - tail), b.slice(head, b.length - tail)];
  const middle = x.length * y.length > 1_000_000 ? [...x.map((line) => ["-", line]), ...y.map((line) => ["+", line])] : longest(x, y);
  return [...a.slice(0, head).map((line) => [" ", line]), ...middle, ...a.slice(a.length - tail).map((line) => [" ", line])];
}

/** The same by the longest common subsequence. */
function longest(x, y) {
  const table = Array.from({ length: x.length + 1 }, () => new Uint32Array(y.length + 1));
  for (let i = x.length - 1; i >= 0; i -= 1) {
    for (let j = y.length - 1; j >= 0; j -= 1) {
      table[i][j] = x[i] === y[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
    }
  }
  const lines = [];
  let [i, j] = [0, 0];
  while (i < x.length || j < y.length) {
    if (i < x.length && j < y.length && x[i] === y[j]) {
      lines.push([" ", x[i]]);
      i += 1;
      j += 1;
    } else if (j >= y.length || (i < x.length && table[i + 1][j] >= table[i][j + 1])) {
      lines.push(["-", x[i]]);
      i += 1;
    } else {
      lines.push(["+", y[j]]);
      j += 1;
    }
  }
  return lines;
}

/** Return the lines to be shown: those that differ, and three around each. */
function shortened(lines) {
  const near = (n) => lines.slice(Math.max(0, n - 3), n + 4).some(([mark]) => mark !== " ");
  const shown = [];
  for (const [n, line] of lines.entries()) {
    if (near(n)) shown.push(line);
    else if (shown[shown.length - 1]?.[0] !== "…") shown.push(["…", ""]);
  }
  return shown;
}

/** Let somebody edit a key; resolves when that is over, true if it was written. */
export async function edit({ key, query, ask }) {
  if (!state.session.may_write) {
    dispatchEvent(new CustomEvent("kv-dict-login", { detail: "Editing needs the token." }));
    return false;
  }
  const dialog = new Dialog(key, query, ask);
  return dialog.done;
}

class Dialog {
  constructor(key, query, ask) {
    this.query = query;
    this.ask = ask;
    this.original = "";
    this.tag = null; // null: there is nothing yet
    this.area = h("textarea", { class: "json", disabled: true, spellcheck: "false", autocomplete: "off", "aria-label": "New value, as JSON", oninput: () => this.changed() });
    this.diff = h("div", { class: "diff", role: "region", "aria-label": "What changes", tabindex: "0" });
    this.message = h("p", { class: "message", role: "alert" });
    this.write = h("button", { class: "primary", type: "button", disabled: true, onclick: () => this.put() }, "Write");
    this.remove = h("button", { class: "danger", type: "button", hidden: true, onclick: () => this.erase() }, "Delete");
    this.cancel = h("button", { type: "button", onclick: () => this.end(false) }, "Cancel");
    this.element = h(
      "dialog",
      { class: "editor", "aria-labelledby": "editor-title", oncancel: () => this.end(false) },
      h("h2", { id: "editor-title" }, visible(key)),
      this.area,
      h("h3", {}, "What changes"),
      this.diff,
      this.message,
      h("div", { class: "row" }, this.remove, h("span", { class: "grow" }), this.cancel, this.write),
    );
    document.body.append(this.element);
    this.done = new Promise((resolve) => {
      this.resolve = resolve;
    });
    this.element.showModal();
    this.load();
  }

  async load() {
    let response;
    try {
      response = await this.ask(`api/value?${this.query}&pretty=1`);
    } catch {
      setText(this.message, "The dashboard does not answer.");
      return;
    }
    if (response.ok) {
      this.original = await response.text();
      this.tag = response.headers.get("ETag");
      if (!this.tag) {
        setText(this.message, "Parts of it are hidden here, and would be lost: kv-dict set changes one part and keeps the others.");
        return;
      }
      this.remove.hidden = false;
    } else if (response.status !== 404) {
      const told = await response.json().catch(() => ({ error: response.statusText }));
      setText(this.message, told.error); // nothing to edit: writing blindly would not be safe
      return;
    }
    this.area.value = this.original;
    this.area.disabled = false;
    this.changed();
    this.area.focus();
  }

  changed() {
    const text = this.area.value;
    this.area.classList.remove("wrong");
    setText(this.message, "");
    this.write.disabled = true;
    this.erasing = false;
    setText(this.remove, "Delete");
    try {
      JSON.parse(text);
    } catch (error) {
      if (text.trim()) setText(this.message, `Not JSON yet: ${error.message}`);
      this.area.classList.add("wrong");
      return;
    }
    this.show(difference(this.original, text));
    this.write.disabled = text === this.original;
  }

  show(lines) {
    const marks = { "+": "added", "-": "removed", " ": "", "…": "skipped" };
    const shown = lines.every(([mark]) => mark === " ") ? [] : shortened(lines).slice(0, 400);
    this.diff.replaceChildren(...shown.map(([mark, line]) => h("div", { class: marks[mark] }, `${mark} ${visible(line)}`)));
    if (!shown.length) this.diff.append(h("div", { class: "dim" }, "Nothing yet."));
  }

  guard() {
    return this.tag === null ? { "If-None-Match": "*" } : { "If-Match": this.tag };
  }

  async put() {
    await this.send("PUT", this.area.value);
  }

  async erase() {
    if (!this.erasing) {
      this.erasing = true;
      setText(this.remove, "Really delete it");
      this.show(difference(this.original, ""));
      return;
    }
    await this.send("DELETE");
  }

  async send(method, body) {
    this.write.disabled = true;
    let response;
    try {
      response = await this.ask(`api/value?${this.query}`, { method, body, headers: { "Content-Type": "application/json", ...this.guard() } });
    } catch {
      setText(this.message, "No answer: it may or may not have been written. Look at the value before you try again.");
      this.write.disabled = false;
      return;
    }
    if (response.ok) {
      this.end(true);
      return;
    }
    const told = await response.json().catch(() => ({ error: response.statusText }));
    setText(this.message, told.error);
    if (response.status === 412) this.conflict(told);
    else this.write.disabled = false;
  }

  /** Somebody else was faster: show what it is now, against what was to be written. */
  conflict({ present, tag, error }) {
    this.original = present ?? "";
    this.tag = present === null ? null : `"${tag}"`;
    this.remove.hidden = present === null;
    this.show(difference(this.original, this.area.value));
    setText(this.message, `${error}. Above is how what you wrote differs from what it is now.`);
    setText(this.write, "Write mine all the same");
    this.write.disabled = this.area.value === this.original;
    this.takeTheirs ??= this.cancel.parentElement.insertBefore(
      h("button", { type: "button", onclick: () => { this.area.value = this.original; this.changed(); } }, "Take theirs"),
      this.cancel,
    );
  }

  end(written) {
    this.element.close();
    this.element.remove();
    this.resolve(written);
  }
}
