"use strict";
// Light, dark, or as the system is set: a button goes round, the browser remembers.
const startTheme = (button, changed = () => {}) => {
  const themes = ["auto", "light", "dark"];
  const setTheme = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
    try { localStorage.setItem("octopi-theme", theme); } catch { /* a file from an attachment may have no storage */ }
  };
  const remembered = () => { try { return localStorage.getItem("octopi-theme") || "auto"; } catch { return "auto"; } };
  setTheme(themes.includes(remembered()) ? remembered() : "auto");
  button.addEventListener("click", () => { setTheme(themes[(themes.indexOf(button.textContent.slice(7)) + 1) % 3]); changed(); });
};
