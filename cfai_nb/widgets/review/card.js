// The review card.  The cards to come are in the browser, so a key shows the next one without waiting for the kernel.
// Keys are kept here until the kernel confirms them: `said` is the kernel's state with the unconfirmed keys applied.
// Labels and notes are written with textContent; the HTML of a row was escaped by the package.

const KEYS = [..."123456789abcdefghijklmopqtvwxyz"]; // r, s, u and n act
const SLOW = 3000; // milliseconds without confirmation after which the card says so
const AHEAD = 6; // cards that should be here before they are needed
const ACTS = { // what the other keys do; each is a button too
  Enter: ["accept", view => view.accept()],
  U: ["undo", view => view.undo()],
  S: ["skip", view => view.say("skipped")],
  "?": ["cannot tell", view => view.say("unclear")],
  N: ["note", view => view.note()],
  Space: ["play", view => view.play()],
  R: ["show the skipped again", view => view.store.send({ type: "reopen", place: 0 })],
};

const stores = new WeakMap();

function make(tag, name = "", text = "") {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text) element.textContent = text;
  return element;
}

class Store {
  constructor(model) {
    this.model = model;
    this.client = crypto.randomUUID ? crypto.randomUUID() : String(Math.random());
    this.number = 0;
    this.gone = false; // the kernel
    this.pressed = 0; // when a key was last pressed
    this.waiting = []; // [number, event]
    this.views = new Set();
    this.html = new Map(Object.entries(model.get("cards")).map(([place, html]) => [Number(place), html]));
    this.wanted = -1;
    this.confirmed();
    this.place = this.next(model.get("place") - 1);
    model.on("change:marks", () => { this.confirmed(); this.draw(); });
    model.on("change:head", () => this.draw());
    model.on("msg:custom", message => {
      if (message.type !== "cards") return;
      for (const [place, html] of Object.entries(message.cards)) this.html.set(Number(place), html);
      this.wanted = -1;
      this.draw();
    });
  }

  confirmed() {
    const { seen, rows } = this.model.get("marks");
    const left = this.waiting.filter(([number]) => number > (seen[this.client] ?? 0));
    if (left.length < this.waiting.length) this.since = Date.now(); // the kernel answers
    this.waiting = left;
    this.said = rows.map(row => ({ ...row }));
    for (const [number, event] of this.waiting) this.apply(event, number);
  }

  apply({ type, place, label, text }, number) {
    if (type === "reopen") this.said.forEach(row => { if (row.state === "skipped") row.state = "open"; });
    else if (type === "note") this.said[place].note = text;
    else if (type === "undo") Object.assign(this.said[place], { state: "open", label: null });
    else Object.assign(this.said[place], { state: type, label: type === "label" ? label : null, order: 1e15 + number });
  }

  tell(message) { // the kernel; it throws if that was restarted or shut down
    try { this.model.send(message); this.gone = false; } catch { this.gone = true; }
    return !this.gone;
  }

  send(event) {
    if (!this.tell({ ...event, client: this.client, number: this.number + 1 })) { this.draw(); return; }
    this.number += 1;
    if (!this.waiting.length) this.since = Date.now();
    this.waiting.push([this.number, event]);
    this.apply(event, this.number);
    if (event.type in { label: 1, skipped: 1, unclear: 1 }) this.place = this.next(event.place);
    if (event.type === "undo") this.place = event.place;
    if (event.type === "reopen") this.place = this.next(-1);
    this.draw();
    setTimeout(() => this.draw(), SLOW + 50);
    this.ask();
  }

  ask() { // for cards that are not here, the one that is shown first
    const places = this.place === null ? [] : this.ahead();
    const missing = places.find(place => !this.html.has(place));
    if (missing === undefined || missing === this.wanted) return;
    if (this.tell({ type: "want", place: missing })) this.wanted = missing;
  }

  ahead() {
    const open = this.said.map((row, place) => place).filter(place => this.said[place].state === "open");
    const after = open.filter(place => place > this.place);
    return [this.place, ...after, ...open.filter(place => place < this.place)].slice(0, AHEAD);
  }

  next(after) {
    const open = place => this.said[place].state === "open";
    const places = this.said.map((row, place) => place).filter(open);
    return places.find(place => place > after) ?? places[0] ?? null;
  }

  last() { // the card that was marked last
    let found = null;
    this.said.forEach((row, place) => {
      if (row.state !== "open" && (found === null || row.order > this.said[found].order)) found = place;
    });
    return found;
  }

  draw() { this.views.forEach(view => view.draw()); }
}

class View {
  constructor(store, el) {
    this.store = store;
    this.model = store.model;
    this.root = make("div", "cfai cfai-review mathjax_ignore tex2jax_ignore");
    this.root.tabIndex = 0;
    this.root.dataset.lmSuppressShortcuts = "true"; // JupyterLab's own keys
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", `review ${this.model.get("name")}`);
    this.head = make("div", "row head");
    this.body = make("div");
    this.foot = make("div", "row foot");
    this.acts = Object.entries(ACTS).map(([key, [text, act]]) => {
      const button = make("button", "act");
      button.tabIndex = -1;
      button.append(make("kbd", "", key), make("span", "", text));
      button.addEventListener("click", event => { if (event.detail < 2) { this.root.focus({ preventScroll: true }); act(this); } });
      return [key, button, act];
    });
    this.state = make("span");
    this.foot.append(...this.acts.map(([, button]) => button), make("span", "cfai-grow"), this.state);
    this.root.append(this.head, this.body, this.foot);
    this.root.addEventListener("keydown", event => this.pressed(event));
    this.root.addEventListener("focusin", () => this.footer());
    this.root.addEventListener("focusout", () => setTimeout(() => this.footer()));
    this.writing = false;
    this.shown = undefined;
    el.append(this.root);
    this.draw();
    store.ask();
    const typing = document.activeElement?.closest?.(".cm-content, input, textarea, .cfai-review");
    if (!typing && Date.now() - Math.max(this.model.get("made"), store.pressed) < 10_000) { // new, or drawn again
      setTimeout(() => this.root.focus({ preventScroll: true }), 50); // after the notebook's own focus
    }
  }

  get focused() { return this.root.contains(document.activeElement); }

  get player() { return this.body.querySelector("audio, video"); }

  get card() { return this.store.place === null ? null : this.model.get("about")[this.store.place]; }

  draw() {
    this.header();
    const { place, html } = this.store;
    const key = `${place} ${html.has(place)}`;
    const turned = key !== this.shown;
    if (turned) { this.shown = key; this.writing = false; this.row(); }
    this.noted();
    this.footer();
    if (turned) this.choose(this.chosen); // last: it makes the browser lay out the page
  }

  header() {
    const [name, mark, head] = ["name", "mark", "head"].map(trait => this.model.get(trait));
    const said = this.store.said;
    const done = said.filter(row => row.state !== "open").length;
    const bar = make("span", "bar"), part = make("i");
    part.style.width = `${100 * done / said.length}%`;
    bar.append(part);
    this.head.replaceChildren(make("b", "", name), bar, make("span", "cfai-soft", `${done} of ${said.length}`), make("span", "cfai-grow"));
    if (mark) this.head.append(make("span", "cfai-chip cfai-emu", mark));
    this.head.append(make("span", "cfai-soft", "accuracy so far"));
    if (head.accuracy) this.head.append(make("b", "", head.accuracy), make("span", "cfai-soft", head.interval));
    else this.head.append(make("span", "cfai-soft", "—"));
  }

  row() {
    const { place, html } = this.store;
    this.buttons = [];
    this.warning = "";
    if (place === null) { this.body.replaceChildren(this.done()); return; }
    const shown = this.content = make("div", "shown");
    shown.setAttribute("aria-live", "polite");
    if (html.has(place)) shown.innerHTML = html.get(place);
    else shown.append(make("span", "cfai-soft", "waiting for the kernel …"));
    this.hint = make("div", "hint");
    const card = this.card, labels = this.model.get("labels"), keys = make("div", card.p && !card.blind ? "keys" : "keys plain");
    this.chosen = card.blind ? -1 : card.guess;
    this.buttons = labels.map((label, at) => {
      const button = make("button", "key"), bar = make("span", "bar"), part = make("i"), p = card.p?.[at];
      button.tabIndex = -1;
      part.style.width = `${100 * (p ?? 0)}%`;
      bar.append(part);
      const number = p === null || p === undefined ? "" : p.toFixed(2).replace(/^0/, "");
      button.append(make("kbd", "", KEYS[at] ?? "·"), make("span", "name", label), bar, make("span", "p", number));
      button.addEventListener("click", event => { if (event.detail < 2) this.say("label", at); });
      keys.append(button);
      return button;
    });
    this.body.replaceChildren(shown, this.hint, keys);
  }

  done() {
    const counts = {};
    this.store.said.forEach(row => { counts[row.state] = (counts[row.state] ?? 0) + 1; });
    const words = [`${counts.label ?? 0} labelled`];
    if (counts.skipped) words.push(`${counts.skipped} skipped`);
    if (counts.unclear) words.push(`${counts.unclear} unclear`);
    const box = make("div", "done");
    box.append(make("b", "", "Done. "), make("span", "", `${words.join(", ")}.`));
    return box;
  }

  choose(at) {
    this.chosen = at;
    this.buttons.forEach((button, each) => button.classList.toggle("on", each === at));
    if (!this.focused) return;
    this.root.scrollIntoView({ block: "nearest" });
    this.buttons[at]?.scrollIntoView({ block: "nearest" });
  }

  noted(warning = this.warning) {
    this.warning = warning; // until the next card
    if (this.store.place === null || this.writing) return;
    const note = this.store.said[this.store.place].note, hint = this.hint;
    hint.replaceChildren();
    if (warning) hint.append(make("span", "cfai-warn", warning));
    else if (this.card.blind) hint.append(make("span", "", "The answer is hidden on this card: what do you say?"));
    else if (this.card.guess < 0) hint.append(make("span", "", "The model gave no answer."));
    if (note) hint.append(make("span", "cfai-chip", "note"), make("span", "", note));
  }

  footer() { // the buttons stay, so that one that is being pressed is not lost
    const { store } = this, open = store.place !== null, said = store.said;
    const able = { U: store.last() !== null, R: !open && said.some(row => row.state === "skipped"), Space: this.player !== null };
    for (const [key, button] of this.acts) {
      button.disabled = !(able[key] ?? open);
      button.hidden = button.disabled && key !== "U";
    }
    const [text, warns] = this.status();
    this.state.className = warns ? "state cfai-warn" : "state";
    this.state.textContent = text;
  }

  status() {
    const { store } = this, head = this.model.get("head"), waiting = store.waiting.length;
    if (store.gone) return [`${waiting ? `${waiting} not stored, ` : ""}the kernel is gone: run the cell again`, true];
    if (head.error) return [head.error, true];
    if (waiting && Date.now() - store.since > SLOW) return [`${waiting} not stored yet: the kernel is busy, or gone`, true];
    if (waiting) return ["storing …", false];
    return [`${head.stored ? "stored" : "kept in this kernel only"}${this.focused ? "" : ", click to use the keys"}`, false];
  }

  say(type, label = null) {
    const place = this.store.place;
    if (place === null || !this.store.html.has(place)) return;
    this.root.focus({ preventScroll: true });
    this.store.send({ type, place, label });
  }

  accept() {
    if (this.chosen >= 0) this.say("label", this.chosen);
    else this.noted("Press the key of a label.");
  }

  undo() {
    const place = this.store.last();
    if (place !== null) this.store.send({ type: "undo", place });
  }

  play() {
    if (!this.player.paused) this.player.pause();
    else this.player.play().catch(error => { if (error.name === "NotSupportedError") this.noted("The browser cannot play this."); });
  }

  note() {
    const place = this.store.place;
    const input = make("input");
    input.value = this.store.said[place].note;
    input.placeholder = "a note to this row; Enter keeps it, Esc does not";
    input.setAttribute("aria-label", "note");
    this.writing = true;
    this.hint.replaceChildren(input);
    input.focus();
    input.addEventListener("keydown", event => {
      event.stopPropagation();
      if (event.isComposing || (event.key !== "Enter" && event.key !== "Escape")) return;
      event.preventDefault();
      this.writing = false;
      if (event.key === "Enter") this.store.send({ type: "note", place, text: input.value });
      this.root.focus({ preventScroll: true });
      this.noted();
    });
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("audio, video, input, summary") && event.target !== this.root) return;
    if (event.key === "Tab") return;
    event.preventDefault();
    event.stopPropagation();
    this.store.pressed = event.key === "Escape" ? 0 : Date.now();
    if (event.key === "Escape") { this.root.blur(); return; }
    if (event.repeat && !/^(Arrow|Page)/.test(event.key)) return; // a key held down is one answer
    const labels = this.model.get("labels"), open = this.store.place !== null;
    // Some keyboards write digits only with the shift key.
    const digit = event.code.startsWith("Digit") && !event.shiftKey;
    const key = digit ? event.code.slice(5) : event.key === " " ? "space" : event.key.toLowerCase();
    const pressed = this.acts.find(([name]) => name.toLowerCase() === key);
    if (pressed) { if (!pressed[1].disabled) pressed[2](this); }
    else if (!open) return;
    else if (key === "pagedown" || key === "pageup")
      this.content.scrollBy({ top: this.content.clientHeight * (key === "pagedown" ? .9 : -.9) });
    else if (key === "arrowdown") this.choose((this.chosen + 1) % labels.length);
    else if (key === "arrowup") this.choose((Math.max(this.chosen, 0) - 1 + labels.length) % labels.length);
    else if (KEYS.includes(key) && KEYS.indexOf(key) < labels.length) this.say("label", KEYS.indexOf(key));
    else if (KEYS.includes(key)) this.noted(`There is no label ${key}.`);
  }
}

export default {
  render({ model, el }) {
    if (!stores.has(model)) stores.set(model, new Store(model));
    const store = stores.get(model), view = new View(store, el);
    store.views.add(view);
    return () => store.views.delete(view);
  },
};
