// The script of a saved page: sorts and filters its table, and draws its map.  Texts are only ever set as text.
"use strict";
const make = (tag, look, text) => {
  const made = document.createElement(tag);
  if (look) made.className = look;
  if (text !== undefined) made.textContent = text;
  return made;
};
for (const table of document.querySelectorAll("table.cfai-table")) {
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  const word = (row, at) => row.cells[at].textContent.trim();
  const number = text => text === "" || text === "missing" ? NaN : Number(text.replaceAll(",", ""));
  const bar = make("div", "cfai-row"), find = make("input", "cfai-input"), within = make("select", "cfai-input");
  const count = make("span", "cfai-soft");
  find.placeholder = "Filter";
  find.setAttribute("aria-label", "Filter");
  within.setAttribute("aria-label", "in column");
  within.append(new Option("all columns", "-1"), ...heads.map((head, at) => new Option(head.textContent, at)));
  count.setAttribute("role", "status");
  const filter = () => {
    const wanted = find.value.toLowerCase(), at = Number(within.value);
    let shown = 0;
    for (const row of rows) {
      row.hidden = !(at < 0 ? row.textContent : word(row, at)).toLowerCase().includes(wanted);
      shown += !row.hidden;
    }
    count.textContent = `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
  };
  find.oninput = within.onchange = filter;
  bar.append(find, within, count);
  table.parentElement.before(bar);
  filter();
  heads.forEach((head, at) => {
    const press = make("button", "cfai-sort", head.textContent);
    press.onclick = () => {
      const falls = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      for (const other of heads) other.firstChild.textContent = other.firstChild.textContent.replace(/ [▲▼]$/, "");
      press.textContent += falls ? " ▼" : " ▲";
      const numbers = rows.every(row => word(row, at) === "missing" || !Number.isNaN(number(word(row, at))));
      const order = numbers ? (a, b) => number(word(a, at)) - number(word(b, at))
        : (a, b) => word(a, at).localeCompare(word(b, at));
      const gone = row => word(row, at) === "missing" ? 1 : 0;
      body.append(...rows.toSorted((a, b) => gone(a) - gone(b) || (falls ? -1 : 1) * order(a, b)));
    };
    head.replaceChildren(press);
  });
}

drawWaves(document);
const source = document.getElementById("cfai-map-data");
if (source) drawMap(JSON.parse(source.textContent));

function drawMap(data) {
  const { x, y, group, names, colors, text, row, near } = data;
  const root = document.getElementById("cfai-map"), top = make("div", "cfai-row"), wide = make("div", "cfai-wide-map");
  const find = make("input", "cfai-input"), count = make("span", "cfai-soft"), all = make("button", "", "Whole map");
  const canvas = make("canvas"), side = make("div", "cfai-list"), tip = make("div", "cfai-tip"), keys = make("div", "cfai-row");
  find.placeholder = "Find by text";
  find.setAttribute("aria-label", "Find by text");
  count.setAttribute("role", "status");
  canvas.tabIndex = 0;
  canvas.setAttribute("aria-label", "map: arrows move it, + and - zoom, a click shows a point and its neighbours");
  tip.hidden = true;
  top.append(find, all, count);
  wide.append(canvas, side);
  root.append(top, keys, wide, tip);
  const pen = canvas.getContext("2d"), off = new Set();
  let chosen = null, marked = -1, zoom = 1, left = 0, up = 0, dragged = null;
  names.forEach((name, at) => {
    const key = make("button", "cfai-key");
    const dot = make("i");
    dot.style.background = colors[at];
    key.append(dot, name);
    key.setAttribute("aria-pressed", "true");
    key.onclick = () => {
      off.has(at) ? off.delete(at) : off.add(at);
      key.setAttribute("aria-pressed", String(!off.has(at)));
      draw();
    };
    keys.append(key);
  });
  const place = (across, down) => {
    const unit = Math.min(canvas.clientWidth, canvas.clientHeight) / 2 * .95 * zoom;
    return [canvas.clientWidth / 2 + left + across * unit, canvas.clientHeight / 2 + up - down * unit];
  };
  function draw() {
    const scale = devicePixelRatio, ink = getComputedStyle(root).color;
    canvas.width = canvas.clientWidth * scale;
    canvas.height = canvas.clientHeight * scale;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    const size = Math.max(2, 5 - Math.log10(x.length + 1)) * Math.min(2, Math.sqrt(zoom));
    for (let at = 0; at < x.length; at++) {
      if (off.has(group[at])) continue;
      const [across, down] = place(x[at], y[at]);
      pen.globalAlpha = chosen && !chosen.has(at) ? .12 : .8;
      pen.fillStyle = colors[group[at]];
      pen.beginPath();
      pen.arc(across, down, at === marked ? size + 3 : size, 0, 7);
      pen.fill();
      if (at === marked) { pen.globalAlpha = 1; pen.strokeStyle = ink; pen.lineWidth = 2; pen.stroke(); }
    }
    pen.globalAlpha = 1;
    pen.font = "600 12px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.lineWidth = 4;
    pen.strokeStyle = getComputedStyle(root).getPropertyValue("--cf-halo") || "#fff";
    pen.fillStyle = ink;
    data.titles.forEach(([name, at, across, down]) => {
      if (off.has(at)) return;
      pen.strokeText(name, ...place(across, down));
      pen.fillText(name, ...place(across, down));
    });
  }
  const list = (which, title) => {
    side.replaceChildren(make("b", "", title), ...which.slice(0, 100).map(at => {
      const line = make("button", "cfai-line-button", `${row[at]}: ${text[at]}`);
      line.onclick = () => show(at);
      return line;
    }));
    count.textContent = `${which.length.toLocaleString("en")} of ${x.length.toLocaleString("en")} rows`;
  };
  const show = at => {
    marked = at;
    chosen = new Set([at, ...near[at]]);
    list([at, ...near[at]], "A row and its nearest ones");
    draw();
  };
  const hit = event => {
    const box = canvas.getBoundingClientRect();
    let best = -1, least = 144;
    for (let at = 0; at < x.length; at++) {
      if (off.has(group[at])) continue;
      const [across, down] = place(x[at], y[at]);
      const far = (across - event.clientX + box.left) ** 2 + (down - event.clientY + box.top) ** 2;
      if (far < least) [best, least] = [at, far];
    }
    return best;
  };
  find.oninput = () => {
    const wanted = find.value.toLowerCase(), found = [];
    text.forEach((each, at) => { if (wanted && each.toLowerCase().includes(wanted)) found.push(at); });
    marked = -1;
    chosen = wanted ? new Set(found) : null;
    wanted ? list(found, "Found") : list([], "");
    draw();
  };
  all.onclick = () => { zoom = 1; left = up = 0; marked = -1; chosen = null; find.value = ""; list([], ""); draw(); };
  const zoomBy = (by, across, down) => {
    left = across - (across - left) * by;
    up = down - (down - up) * by;
    zoom *= by;
    draw();
  };
  canvas.addEventListener("wheel", event => {
    event.preventDefault();
    const box = canvas.getBoundingClientRect();
    zoomBy(Math.exp(-event.deltaY / 500), event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2);
  }, { passive: false });
  canvas.onpointerdown = event => { dragged = [event.clientX, event.clientY, 0]; canvas.setPointerCapture(event.pointerId); };
  canvas.onpointerup = event => {
    if (dragged && dragged[2] < 4) { const at = hit(event); at < 0 ? all.click() : show(at); }
    dragged = null;
  };
  canvas.onpointermove = event => {
    if (dragged) {
      const by = [event.clientX - dragged[0], event.clientY - dragged[1]];
      left += by[0];
      up += by[1];
      dragged = [event.clientX, event.clientY, dragged[2] + Math.abs(by[0]) + Math.abs(by[1])];
      draw();
      return;
    }
    const at = hit(event);
    tip.hidden = at < 0;
    if (at >= 0) {
      tip.textContent = `${row[at]}: ${text[at]}`;
      tip.style.left = `${event.pageX + 12}px`;
      tip.style.top = `${event.pageY + 12}px`;
    }
  };
  canvas.onkeydown = event => {
    const by = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] }[event.key];
    if (by) { left += by[0]; up += by[1]; event.preventDefault(); draw(); }
    if (event.key === "+" || event.key === "-") zoomBy(event.key === "+" ? 1.25 : .8, 0, 0);
  };
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  list([], "");
}
