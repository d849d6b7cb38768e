// Before the first paint: the theme that was chosen here, or the system's.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("kv-dict-theme");
  } catch {
    // storage is switched off: the system's
  }
  const dark = chosen ? chosen === "dark" : !matchMedia("(prefers-color-scheme: light)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
