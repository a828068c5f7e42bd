// The legend of each layer that is shown; classes have theirs in the table of areas.

import { element } from "./elements.js";

export function showLegends(box, layers, names) {
  const shown = [...new Set(names)].filter((name) => layers[name].kind !== "classes");
  box.hidden = shown.length === 0;
  box.replaceChildren(...shown.map((name) => legend(layers[name])));
}

function legend(about) {
  const body = about.kind === "ramp" ? ramp(about.stops) : intervals(about);
  return element("div", { className: "legend" },
    element("h2", {}, about.title), element("p", {}, `${about.description}.`), ...body);
}

function ramp(stops) {
  const bar = element("canvas", { className: "ramp", width: 200, height: 1 });
  const paint = bar.getContext("2d");
  const colors = paint.createLinearGradient(0, 0, 200, 0);
  stops.forEach((color, i) => colors.addColorStop(i / (stops.length - 1), color));
  paint.fillStyle = colors;
  paint.fillRect(0, 0, 200, 1);
  const labels = ["0 %", "25 %", "50 %", "75 %", "100 %"].map((text) => element("span", {}, text));
  return [bar, element("div", { className: "bar-labels" }, ...labels)];
}

function intervals({ entries, ends }) {
  const bins = element("div", { className: "bins" });
  for (const { label, color } of entries) {
    const bin = element("span", {}, element("i"), label);
    bin.firstChild.style.background = color;
    bins.append(bin);
  }
  return [bins, element("div", { className: "bar-labels" }, ...ends.map((text) => element("span", {}, text)))];
}
