// Making elements. Text goes in as text, never as markup.

/** Return an element with attributes, listeners (`onclick`) and children (elements or text). */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Return an SVG element. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Set the text of an element, only if it is another. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Set an attribute, only if it is another; null removes it. */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** Mark an element as just changed, for a second. */
export function flash(element) {
  element.classList.add("fresh");
  clearTimeout(element.freshTimer);
  element.freshTimer = setTimeout(() => element.classList.remove("fresh"), 1200);
}

/** Copy text, and say so for a moment. */
export async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { class: "offscreen" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy"); // where the page did not come over TLS
    area.remove();
  }
  announce("Copied");
  if (button) flash(button);
}

let announcer = null;

/** Tell something in passing: to eyes, and to screen readers. */
export function announce(text) {
  announcer ??= document.body.appendChild(h("div", { class: "toast", role: "status" }));
  announcer.textContent = text;
  announcer.classList.add("shown");
  clearTimeout(announcer.timer);
  announcer.timer = setTimeout(() => announcer.classList.remove("shown"), 1800);
}

/** Draw numbers as a line, 100 wide and 24 high. */
export function sparkline() {
  const line = svg("polyline", { points: "", "vector-effect": "non-scaling-stroke" });
  const picture = svg(
    "svg",
    { viewBox: "0 0 100 24", preserveAspectRatio: "none", class: "spark", "aria-hidden": "true" },
    line,
  );
  return {
    element: picture,
    /** Samples are [time, value]; each value holds until the next, and the last one until now. */
    draw(samples, now) {
      if (samples.length < 2) {
        line.setAttribute("points", "");
        return;
      }
      const values = samples.map((sample) => sample[1]);
      const from = samples[0][0];
      const width = Math.max(now, samples[samples.length - 1][0]) - from || 1;
      const low = Math.min(...values);
      const span = Math.max(...values) - low || 1;
      const x = (time) => (((time - from) / width) * 100).toFixed(1);
      const y = (value) => (22 - ((value - low) / span) * 20).toFixed(1);
      const points = [];
      for (const [n, [time, value]] of samples.entries()) {
        if (n) points.push(`${x(time)},${y(values[n - 1])}`);
        points.push(`${x(time)},${y(value)}`);
      }
      points.push(`100,${y(values[values.length - 1])}`);
      line.setAttribute("points", points.join(" "));
    },
  };
}
