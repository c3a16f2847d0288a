// Shows what the address of the page asks for. Every step is a new address, so Back goes back.

import { address, count, drawAsked, drawLists, make } from "./draw.js";

const $ = (id) => document.getElementById(id);
const choices = $("choices").elements;
const FILTERS = ["state", "least", "most", "in"];
let about;
let running = new AbortController();

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer: has it been ended?");
  }
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

// ---- going somewhere ----

function go(to) {
  history.replaceState({ scroll: scrollY }, "");
  history.pushState({ scroll: 0 }, "", to);
  show();
}

async function show() {
  running.abort();
  running = new AbortController();
  fillForms();
  document.body.setAttribute("aria-busy", "true");
  let view;
  try {
    view = await ask(`api/view${location.search}`, { signal: running.signal });
  } catch (error) {
    if (error.name === "AbortError") return;
    fail(error);
    return;
  }
  document.body.removeAttribute("aria-busy");
  view.total = about.data.pins;
  $("asked").replaceChildren(...drawAsked(view, about).filter((part) => part));
  $("lists").replaceChildren(...drawLists(view));
  $("lists").dataset.count = view.lists.length;
  showBoardFilter(view.filter.board);
  for (const list of document.querySelectorAll("ol.pins")) enter(list.querySelector("li"), list);
  const title = document.querySelector("#asked h1").textContent;
  document.title = `${title} · ${about.runs.map((run) => run.name).join(", ")}`;
  say(`${title}: ${view.lists.map((list) => `${list.title}, ${count(list.pins.length, "pin")}`).join("; ")}`);
  if (!$("choices").contains(document.activeElement)) $("asked").focus({ preventScroll: true });
  scrollTo(0, history.state?.scroll ?? 0);
}

function fail(error) {
  document.body.removeAttribute("aria-busy");
  say("");
  $("asked").replaceChildren(
    make("h1", {}, "That did not work"),
    make("p", { class: "note", role: "alert" }, error.message),
    make("p", {}, make("a", { href: "?" }, "To the start")),
  );
  $("lists").replaceChildren();
}

function say(text) {
  $("status").textContent = text;
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='?']");
  const plain = !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
  if (link && plain) {
    event.preventDefault();
    go(link.getAttribute("href"));
  }
  const button = event.target.closest("button.why");
  if (button) why(button);
});

addEventListener("popstate", show);
history.scrollRestoration = "manual";

// ---- forms ----

function fillForms() {
  const given = new URLSearchParams(location.search);
  for (const name of ["by", "graph", "state", "k", "least", "most"]) {
    const usual = { by: "embedding", graph: "training", state: "any", k: "24" }[name] ?? "";
    choices[name].value = given.get(name) ?? usual;
  }
  choices.graph.disabled = choices.by.value === "embedding" || about.split.kind === "none";
  for (const mode of ["text", "words"]) {
    if (given.has(mode)) {
      $("mode").value = mode;
      $("query").value = given.get(mode);
    }
  }
  $("board").value = "";
  suggest([]);
  $("clear").hidden = !FILTERS.some((name) => given.has(name));
  $("clear").href = address(Object.fromEntries(FILTERS.map((name) => [name, null])));
}

function showBoardFilter(board) {
  $("board-on").hidden = !board;
  $("board").hidden = Boolean(board);
  if (board) {
    const title = board.title || `board ${board.id}`;
    $("board-on").replaceChildren(
      "of ",
      make("b", {}, title),
      make("a", { href: address({ in: null }), "aria-label": `Not only pins of ${title}` }, " ×"),
    );
  }
}

$("choices").addEventListener("change", ({ target }) => {
  if (!target.name) return;
  const usual = { by: "embedding", graph: "training", state: "any", k: "24", least: "", most: "" };
  go(address({ [target.name]: target.value === usual[target.name] ? null : target.value }));
});
$("choices").addEventListener("submit", (event) => event.preventDefault());

$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const asked = $("query").value.trim();
  if (asked) go(address({ [$("mode").value]: asked }));
});

// ---- the board of the filter: suggestions for words of its title ----

let typed = 0;

$("board").addEventListener("input", async () => {
  const words = $("board").value.trim();
  const turn = ++typed;
  try {
    const found = words ? (await ask(`api/boards?${new URLSearchParams({ words })}`)).boards : [];
    if (turn === typed) suggest(found, words);
  } catch (error) {
    fail(error);
  }
});

function suggest(boards, words = "") {
  const rows = boards.map((board, place) =>
    make(
      "span",
      { role: "option", id: `board-${place}`, "data-board": board.id, "aria-selected": "false" },
      `${board.title || board.id} `,
      make("span", { class: "aside" }, count(board.pins, "pin")),
    ),
  );
  const none = words && !rows.length ? [make("span", { class: "aside" }, "no title holds these words")] : [];
  $("boards").replaceChildren(...rows, ...none);
  $("boards").hidden = !(rows.length + none.length);
  $("board").setAttribute("aria-expanded", String(rows.length > 0));
  $("board").removeAttribute("aria-activedescendant");
}

$("board").addEventListener("keydown", (event) => {
  const rows = [...$("boards").querySelectorAll("[role=option]")];
  const at = rows.findIndex((row) => row.getAttribute("aria-selected") === "true");
  if (event.key === "Escape") suggest([]);
  if (event.key === "Enter" && rows.length) go(address({ in: rows[Math.max(at, 0)].dataset.board }));
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || !rows.length) return;
  event.preventDefault();
  const next = (at + step + rows.length) % rows.length;
  rows.forEach((row, place) => row.setAttribute("aria-selected", String(place === next)));
  rows[next].scrollIntoView({ block: "nearest" });
  $("board").setAttribute("aria-activedescendant", rows[next].id);
});
$("boards").addEventListener("mousedown", (event) => {
  const row = event.target.closest("[role=option]");
  if (row) go(address({ in: row.dataset.board }));
});
$("board").addEventListener("blur", () => suggest([]));

// ---- an image to search with ----

async function search(file) {
  if (!file) return;
  say("looking at the image …");
  try {
    const found = await ask("api/image", { method: "POST", body: file });
    go(address({ image: found.image }));
  } catch (error) {
    fail(error);
  }
}

$("image").addEventListener("change", () => {
  search($("image").files[0]);
  $("image").value = "";
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  search(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => search(event.clipboardData.files[0]));

// ---- why two pins are near ----

async function why(button) {
  const item = button.closest("li");
  const open = item.nextElementSibling;
  if (open?.classList.contains("reasons")) {
    open.remove();
    button.setAttribute("aria-expanded", "false");
    return;
  }
  const box = make("li", { class: "reasons", "aria-live": "polite" }, make("p", {}, "…"));
  item.after(box);
  button.setAttribute("aria-expanded", "true");
  const pin = new URLSearchParams(location.search).get("pin");
  const pair = new URLSearchParams({ pin, other: button.dataset.pin, run: button.dataset.run });
  try {
    const { summary } = await ask(`api/why?${pair}`);
    box.replaceChildren(...summary.map((sentence) => make("p", {}, sentence)));
  } catch (error) {
    box.replaceChildren(make("p", { class: "note" }, error.message));
  }
  box.scrollIntoView({ block: "nearest" });
}

// ---- keys: one pin of each list can be reached by Tab, the arrows go to the others ----

function enter(item, list) {
  if (!item) return;
  for (const one of list.querySelectorAll("[tabindex='0']")) one.tabIndex = -1;
  for (const one of item.querySelectorAll("a, button")) one.tabIndex = 0;
}

document.addEventListener("focusin", ({ target }) => {
  const item = target.closest("li.pin");
  if (item) enter(item, item.parentElement);
});

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Return the card that lies next in a direction; sideways it must be in the same row. */
function neighbor(card, [right, down]) {
  const middle = (element) => {
    const { left, top, width } = element.getBoundingClientRect();
    return [left + width / 2, top];
  };
  const [x, y] = middle(card);
  let best = null;
  let least = Infinity;
  for (const other of document.querySelectorAll("li.pin > .go")) {
    const [dx, dy] = middle(other).map((value, axis) => value - [x, y][axis]);
    const along = dx * right + dy * down;
    const across = Math.abs(dx * down) + Math.abs(dy * right);
    const far = along + 3 * across;
    if (along > 4 && far < least && (down || across < 40)) [best, least] = [other, far];
  }
  return best;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "/") {
    event.preventDefault();
    $("query").focus();
    $("query").select();
    return;
  }
  const card = event.target.closest("li.pin > .go");
  if (event.key in ARROWS) {
    const inside = card ? neighbor(card, ARROWS[event.key]) : null;
    const next = inside ?? (event.target.id === "asked" ? document.querySelector("li.pin > .go") : null);
    if (next) {
      event.preventDefault();
      next.focus();
    }
  }
  if (event.key === "w") card?.parentElement.querySelector("button.why")?.click();
});

// ---- the start ----

function introduce() {
  const { data, runs, split } = about;
  const [warm, cold] = about.states;
  const parts = [`${data.name}: ${count(data.pins, "pin")}`, count(data.boards, "board"), count(data.edges, "edge")];
  if (split.kind !== "none") parts.push(`${warm.toLocaleString("en")} warm, ${cold.toLocaleString("en")} cold`);
  $("data").textContent = `${runs.map((run) => run.name).join(" | ")} · ${parts.join(" · ")}`;
  const lost = runs.filter((run) => run.without_vector);
  const lines = lost.map((run) => `${count(run.without_vector, "pin")} without a vector in ${run.name}: never found there.`);
  const off = {};
  if (runs.every((run) => run.no_text)) {
    $("mode").querySelector("[value=text]").disabled = true;
    $("mode").value = "words";
    off.meaning = runs[0].no_text;
  }
  if (runs.every((run) => run.no_image)) {
    $("image").disabled = true;
    $("image-label").classList.add("disabled");
    off.image = runs[0].no_image;
  }
  for (const reason of new Set(Object.values(off))) {
    const ways = Object.keys(off).filter((way) => off[way] === reason);
    lines.push(`Search by ${ways.join(" and by ")} is off: ${reason}.`);
  }
  $("off").textContent = lines.join(" ");
  const notes = new Set(runs.flatMap((run) => run.notes));
  $("notes").hidden = !notes.size;
  $("notes").querySelector("ul").append(...[...notes].map((note) => make("li", {}, note)));
}

try {
  about = await ask("api/about");
  introduce();
  show();
} catch (error) {
  fail(error);
}
