"use strict";
// What the page can do beside the map: copy its tables, save its numbers, change its colors.
const byId = (id) => document.getElementById(id);

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    await copyText(button.dataset.copy);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 1500);
  });
}

byId("save").addEventListener("click", () => {
  const numbers = JSON.stringify(JSON.parse(byId("metrics-data").textContent), null, 2);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([numbers + "\n"], { type: "application/json" }));
  link.download = "metrics.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});

const THEMES = [["light dark", "as the system"], ["light", "light"], ["dark", "dark"]];
let theme = 0;
byId("theme").addEventListener("click", () => {
  theme = (theme + 1) % THEMES.length;
  document.documentElement.style.colorScheme = THEMES[theme][0];
  byId("theme").textContent = `Theme: ${THEMES[theme][1]}`;
  dispatchEvent(new Event("recolor"));
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dispatchEvent(new Event("recolor")));

// What is folded on the screen is read on paper too, but for the explanations: they are many.
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open]):not(.why)")];
  for (const one of folded) one.open = true;
});
addEventListener("afterprint", () => { for (const one of folded) one.open = false; });
