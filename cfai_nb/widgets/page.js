// What the browser does on a live page of rows: it draws sounds, and makes the heads of columns buttons that sort.
export default {
  render({ model, el }) {
    let pressed = null;
    const draw = box => {
      drawWaves(box);
      for (const at of model.get("sortable")) {
        const head = box.querySelector("thead tr")?.cells[at + 1];
        if (!head || head.querySelector("button")) continue;
        const button = Object.assign(document.createElement("button"), { className: "cfai-sort" });
        button.append(...head.childNodes);
        button.onclick = () => { pressed = at; model.send({ sort: at }); };
        head.append(button);
        if (pressed === at) { button.focus(); pressed = null; } // the page was drawn again
      }
    };
    let watch, soon;
    const start = () => {
      const box = el.closest(".cfai-box");
      if (!box) { soon = setTimeout(start, 50); return; } // not in the page yet
      watch = new MutationObserver(() => draw(box));
      watch.observe(box, { childList: true, subtree: true });
      draw(box);
    };
    start();
    return () => { clearTimeout(soon); watch?.disconnect(); };
  },
};
