// The map: pins on a canvas, with a card that shows the one in focus. Pins come in as text only.
(() => {
  const data = JSON.parse(byId("map-data").textContent);
  const count = data.id.length;
  if (!count) return;
  const canvas = byId("map-canvas"), pen = canvas.getContext("2d");
  const card = byId("map-card"), search = byId("map-search");
  const parts = ["cold", "warm", "neither"];
  const boards = (count) => `${count} board${String(count) === "1" ? "" : "s"}`;
  const named = 12;  // boards on the card of a pin; the smallest ones say most
  const looks = [0, 1, 2, 3, 4, 5, 6].map((look) => `--s${look}`);
  const ramp = ["#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"];
  // The color at a share of the way along the ramp, 0 to 1, between its two nearest.
  const shade = (share) => {
    const place = share * (ramp.length - 1), first = Math.min(Math.floor(place), ramp.length - 2);
    const part = (color, byte) => parseInt(color.slice(1 + 2 * byte, 3 + 2 * byte), 16);
    const mixed = [0, 1, 2].map((byte) =>
      Math.round(part(ramp[first], byte) + (place - first) * (part(ramp[first + 1], byte) - part(ramp[first], byte))));
    return `rgb(${mixed.join(", ")})`;
  };
  const shades = data.buckets.map((_, bucket) => shade(bucket / Math.max(1, data.buckets.length - 1)));
  const sprite = new Image();
  const haystack = data.id.map((id, pin) =>
    [id, data.text[pin], ...data.boards[pin].map((board) => data.titles[board])].join("\n").toLowerCase());
  for (const one of data.runs) {
    one.width = Math.max(...one.x, 1);
    one.height = Math.max(...one.y, 1);
  }
  let run = data.runs[0], focus = -1, matches = null, dragged = null;
  let view = { x: 0, y: 0, scale: 1 };

  const color = (name) => {
    const probe = document.createElement("span");
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  };
  let inks = {};
  const recolor = () => {
    inks = { ink: color("--ink"), soft: color("--soft"), line: color("--line"), card: color("--card"), accent: color("--accent"), series: looks.map(color) };
    draw();
  };

  // Pixels of a step of the coordinates, such that the whole map fits; it lies in the middle.
  const unit = () => Math.min((canvas.clientWidth - 40) / run.width, (canvas.clientHeight - 40) / run.height);
  const home = () => { view = { x: canvas.clientWidth / 2, y: canvas.clientHeight / 2, scale: 1 }; };
  const across = (pin) => view.x + (run.x[pin] - run.width / 2) * unit() * view.scale;
  const down = (pin) => view.y - (run.y[pin] - run.height / 2) * unit() * view.scale;

  // Each way to color: the color of a pin, and the legend.
  const ways = {
    part: () => ({ of: (pin) => [inks.series[1], inks.series[0], inks.soft][data.part[pin]], legend: parts.map((name, part) => [[inks.series[1], inks.series[0], inks.soft][part], name]) }),
    hit: () => ({ of: (pin) => run.hit[pin] === null ? inks.line : ramp[Math.round(run.hit[pin] * 5)], legend: [...ramp.map((shade, step) => [shade, (step / 5).toFixed(1)]), [inks.line, "not asked"]] }),
    bucket: () => ({ of: (pin) => shades[data.bucket[pin]], legend: data.buckets.map((name, bucket) => [shades[bucket], boards(name)]) }),
    board: () => ({
      of: (pin) => { const own = Math.min(...data.boards[pin], 99); return own < 7 ? inks.series[own] : inks.line; },
      legend: [...data.titles.slice(0, 7).map((title, board) => [inks.series[board], title]), [inks.line, "others"]],
    }),
  };

  const cell = (pen, pin, x, y, size) => {
    const place = data.picture[pin];
    if (place < 0 || !sprite.complete) return false;
    const row = Math.floor(place / data.columns), column = place % data.columns;
    pen.drawImage(sprite, column * data.cell, row * data.cell, data.cell, data.cell, x, y, size, size);
    return true;
  };

  function draw() {
    const ratio = devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = canvas.clientHeight * ratio;
    pen.scale(ratio, ratio);
    const way = ways[byId("map-color").value]();
    const size = Math.min(data.cell, 9 * Math.sqrt(view.scale) * Math.max(1, Math.sqrt(700 / count)));
    const pictures = byId("map-pictures").checked && size >= 12;
    if (focus >= 0) {
      pen.strokeStyle = inks.accent;
      pen.lineWidth = 1.5;
      for (const other of run.near[focus]) {
        pen.beginPath();
        pen.moveTo(across(focus), down(focus));
        pen.lineTo(across(other), down(other));
        pen.stroke();
      }
    }
    for (let pin = 0; pin < count; pin++) {
      const x = across(pin), y = down(pin);
      if (x < -size || y < -size || x > canvas.clientWidth + size || y > canvas.clientHeight + size) continue;
      pen.globalAlpha = matches && !matches.has(pin) ? 0.1 : pictures ? 1 : 0.85;
      pen.fillStyle = way.of(pin);
      if (pictures && data.picture[pin] >= 0) {
        pen.fillRect(x - size / 2 - 2, y - size / 2 - 2, size + 4, size + 4);
        cell(pen, pin, x - size / 2, y - size / 2, size);
      } else {
        pen.beginPath();
        pen.arc(x, y, Math.max(2.6, Math.min(7, size / 3)), 0, 7);
        pen.fill();
      }
    }
    pen.globalAlpha = 1;
    if (focus >= 0) {
      pen.strokeStyle = inks.ink;
      pen.lineWidth = 3;
      pen.beginPath();
      pen.arc(across(focus), down(focus), size / 2 + 8, 0, 7);
      pen.stroke();
    }
    byId("map-legend").replaceChildren(...way.legend.map(([shade, name]) => {
      const item = document.createElement("span"), chip = document.createElement("i");
      chip.className = "chip";
      chip.style.background = shade;
      item.append(chip, name);
      return item;
    }));
  }

  const line = (tag, words) => { const made = document.createElement(tag); made.textContent = words; return made; };
  const picture = (pin, size) => {
    const made = document.createElement("canvas");
    made.width = made.height = size;
    if (!cell(made.getContext("2d"), pin, 0, 0, size)) return null;
    return made;
  };

  function show(pin) {
    focus = pin;
    card.replaceChildren();
    if (pin < 0) {
      card.append(line("p", "Point at a pin, or go with the arrow keys."));
      draw();
      return;
    }
    const large = picture(pin, data.cell * 3);
    if (large) card.append(large);
    card.append(line("h3", data.text[pin] || data.id[pin]));
    const hit = run.hit[pin] === null ? "not asked" : `recall@10 ${run.hit[pin].toFixed(2)}`;
    card.append(line("p", `${data.id[pin]} · ${parts[data.part[pin]]} · ${boards(data.degree[pin])} · ${hit}`));
    const own = data.boards[pin], more = own.length - named;
    const titles = own.slice(0, named).map((board) => data.titles[board]).join(", ");
    if (own.length) card.append(line("p", more > 0 ? `${titles} and ${more} more` : titles));
    const near = document.createElement("div");
    near.className = "near";
    for (const other of run.near[pin]) {
      const button = document.createElement("button");
      button.type = "button";
      button.title = data.text[other] || data.id[other];
      button.setAttribute("aria-label", `go to ${button.title}`);
      button.append(picture(other, data.cell) || line("span", "·"));
      button.addEventListener("click", () => { show(other); canvas.focus(); });
      near.append(button);
    }
    if (run.near[pin].length) card.append(line("p", "Its nearest pins on the map:"), near);
    draw();
  }

  const at = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  const open = (pin) => !matches || matches.has(pin);
  function closest(x, y, reach) {
    let best = -1, least = reach * reach;
    for (let pin = 0; pin < count; pin++) {
      const far = (across(pin) - x) ** 2 + (down(pin) - y) ** 2;
      if (open(pin) && far < least) { best = pin; least = far; }
    }
    return best;
  }
  function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const scale = Math.min(60, Math.max(0.6, view.scale * factor)), change = scale / view.scale;
    view = { x: x - (x - view.x) * change, y: y - (y - view.y) * change, scale };
    draw();
  }
  function travel(dx, dy) {
    if (focus < 0) { show(closest(canvas.clientWidth / 2, canvas.clientHeight / 2, 1e9)); return; }
    let best = -1, least = Infinity;
    for (let pin = 0; pin < count; pin++) {
      const x = across(pin) - across(focus), y = down(pin) - down(focus);
      const ahead = x * dx + y * dy, beside = Math.abs(x * dy) + Math.abs(y * dx);
      if (pin !== focus && open(pin) && ahead > 0.5 && ahead + 2 * beside < least) { best = pin; least = ahead + 2 * beside; }
    }
    if (best < 0) return;
    const x = across(best), y = down(best), edge = 40;
    view.x += Math.max(0, edge - x) - Math.max(0, x - canvas.clientWidth + edge);
    view.y += Math.max(0, edge - y) - Math.max(0, y - canvas.clientHeight + edge);
    show(best);
  }

  const keys = {
    ArrowLeft: () => travel(-1, 0), ArrowRight: () => travel(1, 0), ArrowUp: () => travel(0, -1), ArrowDown: () => travel(0, 1),
    "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4),
    Enter: () => { if (focus >= 0 && run.near[focus].length) show(run.near[focus][0]); },
    Escape: () => show(-1), Home: () => { home(); draw(); },
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
  canvas.addEventListener("pointerdown", (event) => { dragged = { from: at(event), view: { ...view } }; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    if (dragged) {
      view = { ...view, x: dragged.view.x + x - dragged.from[0], y: dragged.view.y + y - dragged.from[1] };
      draw();
      return;
    }
    const pin = closest(x, y, 26);
    if (pin >= 0 && pin !== focus) show(pin);
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { dragged = null; });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== canvas) return;  // else the page scrolls
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, ...at(event));
  }, { passive: false });
  canvas.addEventListener("dblclick", (event) => zoom(2, ...at(event)));

  search.addEventListener("input", () => {
    const wanted = search.value.trim().toLowerCase();
    matches = wanted ? new Set(haystack.keys().filter((pin) => haystack[pin].includes(wanted))) : null;
    byId("map-count").textContent = matches ? `${matches.size} of ${count} pins hold “${search.value.trim()}”` : "";
    show(matches && matches.size ? matches.values().next().value : -1);
  });
  search.addEventListener("keydown", (event) => { if (event.key === "Enter") canvas.focus(); });

  for (const one of data.runs) byId("map-run").append(new Option(one.name));
  byId("map-run").parentElement.hidden = data.runs.length < 2;
  byId("map-run").addEventListener("change", () => { run = data.runs[byId("map-run").selectedIndex]; show(focus); });
  for (const id of ["map-color", "map-pictures"]) byId(id).addEventListener("change", draw);
  byId("map-in").addEventListener("click", () => zoom(1.5));
  byId("map-out").addEventListener("click", () => zoom(1 / 1.5));
  byId("map-home").addEventListener("click", () => { home(); draw(); });

  document.querySelector(".map").hidden = false;
  home();
  recolor();
  show(-1);
  sprite.addEventListener("load", () => show(focus));
  if (data.sprite) sprite.src = data.sprite;
  addEventListener("recolor", recolor);
  addEventListener("resize", () => { home(); draw(); });
  addEventListener("beforeprint", () => { home(); recolor(); });
  addEventListener("afterprint", () => { home(); recolor(); });
})();
