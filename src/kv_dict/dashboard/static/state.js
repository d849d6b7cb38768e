// What the dashboard knows, and who is told when it changes.

const FEED = 500;
const SAMPLES = 240;

/** One source: its keys, its companions' items, its health and layout. */
class Source {
  constructor(name) {
    this.name = name;
    this.keys = new Map();
    this.status = new Map();
    this.presence = new Map();
    this.baton = new Map();
    this.health = { state: "connecting", since: 0, reason: "", url: "", entry_point: "" };
    this.layout = { title: "", tiles: [] };
    this.last = null; // the last item that changed
  }

  /** Whether what is known is true now, as far as anybody can tell. */
  get live() {
    return state.linked && this.health.state === "live";
  }

  /** The moment of which what is known is true. */
  asOf() {
    if (!state.linked) return state.linkedAt;
    return this.health.state === "stale" ? this.health.since : state.now();
  }

  get title() {
    return this.layout.title || this.name;
  }

  of(part) {
    return part === "metadata" ? this.keys : this[part];
  }
}

class State {
  constructor() {
    this.sources = new Map();
    this.feed = []; // newest first
    this.id = "";
    this.linked = false; // to the dashboard itself
    this.linkedAt = 0; // of its clock, when it was last heard
    this.skew = 0; // its clock minus ours
    this.session = { may_write: false };
    this.structure = 0; // counts keys that came or went
    this.watchers = new Set();
    this.dirty = new Set();
    this.scheduled = false;
  }

  /** Seconds since the epoch, by the dashboard's clock. */
  now() {
    return Date.now() / 1000 + this.skew;
  }

  clock(time) {
    const skew = time - Date.now() / 1000;
    if (Math.abs(skew - this.skew) > 0.5) this.skew = skew;
    this.linkedAt = time;
  }

  source(name) {
    let source = this.sources.get(name);
    if (!source) {
      source = new Source(name);
      this.sources.set(name, source);
      this.structure += 1;
    }
    return source;
  }

  layouts(list) {
    for (const one of list) {
      const source = this.source(one.name);
      source.layout = one.layout;
    }
    this.tell("layout");
  }

  /** Take everything: what is not in it is gone. */
  whole({ id, time, items }) {
    this.clock(time);
    const there = new Set(items.map((item) => `${item.source}\n${item.part}\n${item.key}`));
    for (const source of this.sources.values()) {
      for (const part of ["metadata", "status", "presence", "baton"]) {
        for (const key of source.of(part).keys()) {
          if (!there.has(`${source.name}\n${part}\n${key}`)) {
            this.one({ source: source.name, part, key, gone: true, time: null }, true);
          }
        }
      }
    }
    for (const item of items) this.one(item, true);
    this.id = id;
  }

  /** Take changes. */
  changes(items) {
    for (const item of items) this.one(item, false);
  }

  one(item, quiet) {
    const source = this.source(item.source);
    if (item.health) {
      source.health = item.health;
      this.tell(source);
      return;
    }
    const items = source.of(item.part);
    const before = items.get(item.key);
    // A snapshot of another process counts anew; a change may have been told already.
    const same = before && !item.gone && item.revision !== null && before.revision === item.revision;
    if (same && (quiet || before.count === item.count)) return;
    if (item.gone && !before) return;
    item.at = performance.now();
    item.quiet = quiet && !before;
    item.when = item.time ?? item.seen ?? null;
    if (item.gone) {
      items.delete(item.key);
      this.structure += 1;
    } else {
      if (!before) this.structure += 1;
      item.samples = before?.samples;
      items.set(item.key, item);
    }
    if (item.part === "metadata") {
      if (item.samples && typeof item.value === "number") {
        item.samples.push([item.when ?? this.now(), item.value]);
        if (item.samples.length > SAMPLES) item.samples.shift();
      }
      if (!item.gone && item.when !== null && !(source.last?.when > item.when)) source.last = item;
      if (!item.quiet) this.news(item, before);
    }
    this.tell(item);
  }

  news(item, before) {
    const skipped = before && item.count ? Math.max(0, item.count - before.count - 1) : 0;
    this.feed.unshift({ ...item, previous: before ?? null, when: item.when ?? this.now(), skipped });
    if (this.feed.length > FEED) this.feed.length = FEED;
    this.feedCount = (this.feedCount ?? 0) + 1;
  }

  /** Take what changed before this page was there. */
  earlier(changes) {
    for (const one of changes) {
      one.when = one.time ?? one.seen;
      one.skipped = 0;
      this.source(one.source);
    }
    const known = new Set(this.feed.map((one) => `${one.source}\n${one.key}\n${one.revision}\n${one.gone}`));
    const older = changes.reverse().filter((one) => !known.has(`${one.source}\n${one.key}\n${one.revision}\n${one.gone}`));
    this.feed.push(...older);
    if (this.feed.length > FEED) this.feed.length = FEED;
    this.feedCount = (this.feedCount ?? 0) + older.length;
    this.tell("feed");
  }

  // -- telling -----------------------------------------------------------------------------------

  watch(watcher) {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }

  /** Have watchers called, once a frame, with all that is another. */
  tell(what) {
    this.dirty.add(what);
    if (this.scheduled) return;
    this.scheduled = true;
    const paint = () => {
      if (!this.scheduled) return;
      this.scheduled = false;
      const dirty = this.dirty;
      this.dirty = new Set();
      for (const watcher of this.watchers) watcher(dirty);
    };
    requestAnimationFrame(paint);
    setTimeout(paint, 250); // a page in the background gets no frames
  }
}

export const state = new State();
