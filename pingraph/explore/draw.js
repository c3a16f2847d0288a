// Draws what the server answers. Words of pins come into the page as text nodes only.

const KINDS = ["pin", "text", "image", "words", "board"];

/** Return an element; attributes that are null or false are left out, children may be text. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== ""));
  return element;
}

/** Return the address of this page with other parameters; null takes one away. */
export function address(changes) {
  const parameters = new URLSearchParams(location.search);
  if (KINDS.some((kind) => kind in changes)) KINDS.forEach((kind) => parameters.delete(kind));
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) parameters.delete(name);
    else parameters.set(name, value);
  }
  return `?${parameters}`;
}

export const count = (number, one) =>
  `${number.toLocaleString("en")} ${one}${number === 1 ? "" : "s"}`;

const named = (text, other) => text || other;
const boardName = (board) => named(board.title, `board ${board.id}`);
const percent = (share) => `${(100 * share).toFixed(1)}%`;

function picture(pin, side) {
  const words = () => make("span", { class: "words" }, named(pin.text, pin.id));
  if (!pin.image) return words();
  const at = (pixels) => `image/${pin.index}?side=${pixels}`;
  const image = make("img", {
    src: at(side),
    srcset: `${at(side)} 1x, ${at(2 * side)} 2x`,
    width: side,
    height: side,
    loading: side < 192 ? "lazy" : null,
    alt: pin.text ? "" : `pin ${pin.id}`, // the words stand beside it
  });
  image.addEventListener("load", () => {
    image.classList.toggle("coarse", 2 * image.naturalWidth <= image.width);
  });
  image.addEventListener("error", () => {
    image.replaceWith(make("span", { class: "words broken" }, "broken image: ", named(pin.text, pin.id)));
  });
  return image;
}

function state(pin) {
  return make("span", { class: `state ${pin.state === "cold" ? "cold" : ""}` }, pin.state);
}

// ---- what is asked about ----

export function drawAsked(view, about) {
  const { kind, value, pin, board } = view.asked;
  if (pin) return askedPin(pin, about);
  if (kind === "board") return askedBoard(board, view);
  if (kind === "image") {
    const image = make("img", { src: `given/${encodeURIComponent(value)}`, alt: "the image that was given" });
    return [heading("Your image"), make("div", { class: "large" }, image)];
  }
  if (kind === "text") return [heading(`“${value}”`), aside("searched by meaning: the embedding of these words")];
  if (kind === "words") {
    const found = view.lists[0].ranked;
    return [heading(`“${value}”`), aside(`${count(found, "pin")} with this id or these words`)];
  }
  return [
    heading("Where to begin"),
    aside("Search above, or take one of these pins. They are drawn at random; filters choose others."),
  ];
}

function askedPin(pin, about) {
  const split = about.split.kind !== "none";
  const heldOut = pin.held_out ? `, ${pin.held_out} of them held out` : "";
  return [
    heading(named(pin.text, `Pin ${pin.id}`)),
    make("div", { class: "large" }, picture(pin, 192)),
    make("p", { class: "facts" }, make("span", {}, "pin ", make("b", {}, pin.id)), state(pin)),
    make("p", { class: "aside" }, `on ${count(pin.boards, "board")}${split ? heldOut : ""}`),
    pin.on.length
      ? make("ul", { class: "on", "aria-label": "Boards" }, pin.on.map((board) => boardRow(board)))
      : null,
    pin.boards > pin.on.length
      ? aside(`These are the ${pin.on.length} smallest of them.`)
      : null,
  ];
}

function boardRow(board) {
  return make(
    "li",
    { class: board.held_out ? "held-out" : null },
    make("a", { href: address({ board: board.id }) }, boardName(board)),
    make("span", { class: "aside" }, ` ${count(board.pins, "pin")}${board.held_out ? ", held out" : ""} `),
    make("a", { class: "only", href: address({ in: board.id }), "aria-label": `Only pins of ${boardName(board)}` }, "only"),
  );
}

function askedBoard(board, view) {
  const only = view.filter.board?.id === board.id;
  return [
    heading(boardName(board)),
    aside(`a board of ${count(board.pins, "pin")}`),
    only ? null : make("p", {}, make("a", { href: address({ in: board.id }) }, "Search among its pins only")),
  ];
}

const heading = (text) => make("h1", {}, text);
const aside = (text) => make("p", { class: "aside" }, text);

// ---- the lists ----

export function drawLists(view) {
  const shown = view.lists.map((list) => new Set(list.pins.map((pin) => pin.index)));
  return view.lists.map((list, place) => drawList(view, list, place, shown));
}

function drawList(view, list, place, shown) {
  const title = `list-${place}`;
  return make(
    "section",
    { class: "list", "aria-labelledby": title },
    make("h2", { id: title }, list.title),
    make("p", { class: "aside" }, about(list, view)),
    overlaps(view, place).map((text) => make("p", { class: "overlap" }, text)),
    list.note ? make("p", { class: "note" }, list.note) : null,
    make("ol", { class: "pins" }, list.pins.map((pin) => card(view, list, pin, shown))),
  );
}

function about(list, view) {
  const filtered = view.filter.passing < view.total ? `; ${count(view.filter.passing, "pin")} pass the filters` : "";
  if (!list.ranked) return "";
  if (list.kind === "embedding") return `by cosine, of ${count(list.ranked, "pin")}${filtered}`;
  if (list.kind === "graph") return `by share of visits, of ${count(list.ranked, "pin")} that ${list.detail} reach${filtered}`;
  return `${list.pins.length.toLocaleString("en")} of ${count(list.ranked, "pin")}${filtered}`;
}

function overlaps(view, place) {
  return view.overlaps
    .filter((overlap) => overlap.lists.includes(place) && overlap.of)
    .map(({ lists, shared, of }) => {
      const other = view.lists[lists[0] === place ? lists[1] : lists[0]].title;
      return `shares ${shared} of ${of} with ${other} (overlap@${of} ${(shared / of).toFixed(2)})`;
    });
}

function card(view, list, pin, shown) {
  const { shared } = pin;
  const kinds = ["pin"];
  if (shared?.hit) kinds.push(shared.held_out ? "hit held-out" : "hit");
  const score = { embedding: (value) => value.toFixed(3), graph: percent }[list.kind];
  return make(
    "li",
    { class: kinds.join(" ") },
    make(
      "a",
      { class: "go", href: address({ pin: pin.id }), tabindex: -1 },
      picture(pin, 96),
      score
        ? make(
            "span",
            { class: "numbers" },
            make("span", { class: "rank" }, `#${pin.rank.toLocaleString("en")}`),
            make("span", { class: "score" }, score(pin.score)),
          )
        : null,
      pin.image && pin.text ? make("span", { class: "text" }, pin.text) : null,
    ),
    shared
      ? make(
          "p",
          { class: "shared" },
          shared.hit ? "✓ " : "",
          make("a", { href: address({ board: shared.board.id }), tabindex: -1 }, boardName(shared.board)),
          shared.held_out ? " (held out)" : "",
          shared.hit ? "" : ` (${count(shared.board.pins, "pin")})`,
        )
      : null,
    pin.elsewhere.map(({ list: other, rank }) =>
      make(
        "p",
        { class: shown[other].has(pin.index) ? "elsewhere also" : "elsewhere" },
        shown[other].has(pin.index) ? "◆ " : "",
        rank ? `#${rank.toLocaleString("en")} in ` : "not in ",
        view.lists[other].title,
      ),
    ),
    make("p", {}, make("b", {}, pin.id), pin.boards ? ` · ${count(pin.boards, "board")} · ` : " · ", state(pin)),
    view.asked.pin
      ? make("button", { type: "button", class: "why", tabindex: -1, "data-run": list.run ?? 0, "data-pin": pin.id }, "why?")
      : null,
  );
}
