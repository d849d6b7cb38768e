// Values, times and sizes as people read them.

/** An integer that JavaScript's numbers would round. */
export class Exact {
  constructor(text) {
    this.text = text;
  }
}

/** Parse JSON; integers beyond 53 bits keep their digits. */
export function parse(text) {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  return JSON.parse(text, (key, value, context) =>
    typeof value === "number" && !Number.isSafeInteger(value) && Number.isInteger(value) &&
    context && /^-?\d+$/.test(context.source)
      ? new Exact(context.source)
      : value,
  );
}

const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** Show characters that cannot be seen, or that turn text around. */
export function visible(text) {
  return text.replace(HIDDEN, (c) => `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

/** Return [type, content] of a value that is stored with a tag, or null. */
export function tagged(value) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return null;
  const names = Object.keys(value);
  if (names.length !== 1 || !names[0].startsWith("$kv:")) return null;
  return [names[0].slice(4), value[names[0]]];
}

/** Return whether a value has parts to be unfolded. */
export function isContainer(value) {
  return (
    value !== null && typeof value === "object" && !(value instanceof Exact) && !tagged(value) &&
    Object.keys(value).length > 0
  );
}

/** Return the kind of a value in a word. */
export function kindOf(value) {
  if (value === null) return "null";
  if (value instanceof Exact) return "number";
  const tag = tagged(value);
  if (tag) return tag[0];
  if (Array.isArray(value)) return "list";
  return { object: "dict", string: "text", boolean: "bool" }[typeof value] ?? typeof value;
}

/** Return a number for plots and rules, or null. */
export function asNumber(value) {
  if (typeof value === "number") return value;
  if (value instanceof Exact) return Number(value.text);
  if (typeof value === "boolean") return Number(value);
  const tag = tagged(value);
  return tag && (tag[0] === "decimal" || tag[0] === "int") ? Number(tag[1]) : null;
}

/** Return a value in one line, of about so many characters. */
export function brief(value, length = 160) {
  if (value === null || value === undefined) return "null";
  if (typeof value === "string") return visible(cut(value, length));
  if (typeof value === "number") return number(value);
  if (typeof value === "boolean") return String(value);
  if (value instanceof Exact) return value.text;
  const tag = tagged(value);
  if (tag) return cut(ofTag(...tag), length);
  const parts = [];
  let used = 0;
  const list = Array.isArray(value);
  for (const [name, part] of Object.entries(value)) {
    const quoted = typeof part === "string" ? `"${brief(part, 60)}"` : null;
    const text = (list ? "" : `${visible(cut(name, 60))}: `) + (quoted ?? brief(part, 60));
    used += text.length;
    if (used > length) {
      parts.push("…");
      break;
    }
    parts.push(text);
  }
  return list ? `[${parts.join(", ")}]` : `{${parts.join(", ")}}`;
}

function ofTag(name, content) {
  switch (name) {
    case "datetime":
      return String(content).replace("T", " ").replace(/;fold=1$/, "");
    case "timedelta":
      return `${content[0] * 86400 + content[1] + content[2] / 1e6} s`;
    case "bytes":
    case "bytearray":
      return `${Math.floor((String(content).length * 3) / 4)} bytes`;
    case "ndarray":
      return `array of ${(content.shape ?? []).join(" × ") || "one"}, ${content.dtype}`;
    case "complex":
      return `${brief(content[0])} ${content[1] < 0 ? "−" : "+"} ${brief(Math.abs(content[1]))}i`;
    case "set":
    case "frozenset":
      return `{${content.map((one) => brief(one, 40)).join(", ")}}`;
    case "unreadable":
      return `cannot be shown: ${content}`;
    default:
      return typeof content === "string" ? visible(content) : brief(content);
  }
}

export function cut(text, length) {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

/** Return a number as it was written, but for very long fractions. */
export function number(value, digits = null) {
  if (digits !== null) return value.toFixed(digits).replace("-", "−");
  if (Number.isInteger(value)) return String(value).replace("-", "−");
  const short = Number(value.toPrecision(10));
  return String(short).replace("-", "−");
}

/** Return how long ago, or how long, in few characters. */
export function span(seconds) {
  const s = Math.max(0, seconds);
  if (s < 1) return "now";
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 48 * 3600) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

/** Return "3 s ago". */
export function ago(seconds) {
  const text = span(seconds);
  return text === "now" ? "just now" : `${text} ago`;
}

/** Return minutes and seconds, or hours and minutes. */
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  const two = (n) => String(n).padStart(2, "0");
  if (s >= 3600) return `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
  return `${Math.floor(s / 60)}:${two(s % 60)}`;
}

/** Return a moment: the time of day, and the day if it is another. */
export function moment(time, exact = false) {
  const then = new Date(time * 1000);
  const options = { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false };
  if (exact) options.fractionalSecondDigits = 3;
  const clock = then.toLocaleTimeString("en-GB", options);
  if (then.toDateString() === new Date().toDateString()) return clock;
  const two = (n) => String(n).padStart(2, "0");
  return `${then.getFullYear()}-${two(then.getMonth() + 1)}-${two(then.getDate())} ${clock}`;
}

/** Return bytes in few characters. */
export function size(bytes) {
  if (bytes < 1024) return `${bytes} bytes`;
  if (bytes < 1024 * 1024) return `${Math.round(bytes / 1024)} kB`;
  return `${(bytes / 1024 / 1024).toFixed(1)} MB`;
}

/** Return JSON in lines, for reading. */
export function pretty(value, indent = "") {
  if (value instanceof Exact) return value.text;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}  `;
  const list = Array.isArray(value);
  const parts = list
    ? value.map((part) => inner + pretty(part, inner))
    : Object.entries(value).map(([name, part]) => `${inner}${JSON.stringify(name)}: ${pretty(part, inner)}`);
  if (!parts.length) return list ? "[]" : "{}";
  const open = list ? "[" : "{";
  const close = list ? "]" : "}";
  const line = open + parts.map((part) => part.trim()).join(", ") + close;
  if (list && line.length < 72 && !line.includes("\n")) return line;
  return `${open}\n${parts.join(",\n")}\n${indent}${close}`;
}
