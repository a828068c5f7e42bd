// The product's layers: one over the whole map, or two with a bar between them.

import { element, fetchJson } from "./elements.js";

export function addSwipe(map, layers, showProblem, moved) {
  const panes = { left: map.createPane("left"), right: map.createPane("right") };
  panes.left.style.zIndex = 300;
  panes.right.style.zIndex = 301;
  const box = document.getElementById("swipe");
  const slider = document.getElementById("split");
  const bar = box.querySelector(".bar");
  const shown = { left: null, right: null };

  function clip() {
    const { x, y } = map.getSize();
    const at = (x * slider.value) / 100;
    const rectangle = (from, to) => {
      const a = map.containerPointToLayerPoint([from, 0]), b = map.containerPointToLayerPoint([to, y]);
      return `polygon(${a.x}px ${a.y}px, ${b.x}px ${a.y}px, ${b.x}px ${b.y}px, ${a.x}px ${b.y}px)`;
    };
    panes.left.style.clipPath = box.hidden ? "" : rectangle(0, at);
    panes.right.style.clipPath = box.hidden ? "" : rectangle(at, x);
    bar.style.left = `${slider.value}%`;
  }

  function replace(name, side, opacity) {
    const address = side && `api/${side.product.key}/tiles/${side.layer}/{z}/{x}/{y}.png`;
    if (shown[name]?.address !== address) {
      shown[name]?.layer.remove();
      shown[name] = side && { address, layer: tiles(name, address, side.product) };
    }
    shown[name]?.layer.setOpacity(opacity / 100);
  }

  function tiles(name, address, product) {
    const layer = L.tileLayer(address, { pane: name, maxZoom: 19, maxNativeZoom: 18, updateWhenZooming: false });
    layer.on("tileerror", async ({ tile }) => {
      await fetchJson(tile.src).catch((error) => showProblem(`${product.name}, ${product.date}: ${error.message}`));
    });
    return layer.addTo(map);
  }

  slider.addEventListener("input", () => { clip(); moved(Number(slider.value)); });
  map.on("move zoomend resize", clip);

  return {
    show({ left, right, split, opacity }) {
      replace("left", left, opacity);
      replace("right", right, opacity);
      box.hidden = !right;
      slider.value = split;
      for (const [name, side] of Object.entries({ left, right })) {
        const label = document.getElementById(`name-${name}`);
        if (side) label.replaceChildren(side.product.date, element("small", {}, `${layers[side.layer].title} · ${side.product.name}`));
      }
      clip();
    },
  };
}
