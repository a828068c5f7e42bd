// What the products say of the pixel that was asked for.

import { element, fetchJson, percent, place, swatch } from "./elements.js";

const SENSORS = { "sentinel-1": "Sentinel-1 (SAR)", "sentinel-2": "Sentinel-2 (optical)" };
const REGIMES = {
  both: "optical and SAR",
  "sar stale": "optical, and SAR from further away in time",
  "sar only": "SAR alone",
  "optical only": "optical alone",
};

let asked = 0;

export function invitePixel(box) {
  box.replaceChildren(element("p", { className: "quiet" },
    "Click the map for its class, the evidence and the scenes behind it. By keyboard: focus the map, move it under the cross, press Enter."));
}

export async function showPixel(box, at, products) {
  const request = ++asked;
  box.replaceChildren(element("p", { className: "quiet" }, "Reading the pixel …"));
  const lon = (((at.lng + 180) % 360) + 360) % 360 - 180;
  const found = await Promise.all(products.map((p) =>
    fetchJson(`api/${p.key}/pixel?lon=${lon}&lat=${at.lat}`).catch((error) => ({ error: error.message }))));
  if (request !== asked) return;
  box.replaceChildren(
    element("p", { className: "quiet" }, place(at.lat, lon, 6)),
    ...found.map((answer, i) => pixel(answer, products[i], products.length > 1)));
}

function pixel(answer, product, named) {
  const box = element("div", { className: "pixel" });
  if (named) box.append(element("p", { className: "whose" }, `${product.name}, ${product.date}`));
  if (answer.error) box.append(element("p", {}, answer.error));
  else if (!answer.tile) box.append(element("p", {}, "No product tile lies here."));
  else if (!answer.class) box.append(element("h3", {}, swatch(), "Not mapped"), element("p", { className: "quiet" }, "Outside the region, or no scene within reach of the date."));
  else box.append(element("h3", {}, swatch(answer.class.color), answer.class.name), evidence(answer), ...inputs(answer.inputs));
  return box;
}

function evidence({ values, acquired, inputs, date }) {
  const list = element("dl");
  const add = (name, ...content) => list.append(element("dt", {}, name), element("dd", {}, ...content));
  for (const name of ["confidence", "reliability", "cloud"]) {
    if (!(name in values)) continue;
    const title = name[0].toUpperCase() + name.slice(1);
    if (values[name] === null) add(title, name === "cloud" ? "not screened" : "unknown");
    else add(title, `${values[name]} %`, meter(values[name]));
  }
  if ("optical_age" in values) add("Optical", age(values.optical_age, acquired.optical));
  if ("sar_age" in values) add("SAR", age(values.sar_age, acquired.sar));
  add("Target date", date);
  if (inputs.regime) add("Mapped by", REGIMES[inputs.regime] ?? inputs.regime);
  if (inputs.expected_accuracy) add("Expected accuracy", percent(inputs.expected_accuracy));
  return list;
}

function meter(value) {
  const bar = element("i");
  bar.style.width = `${value}%`;
  return element("span", { className: "meter", ariaHidden: "true" }, bar);
}

function age(days, day) {
  if (days === null) return "none, or its date is unknown";
  const when = Math.abs(days) === 1 ? "1 day" : `${Math.abs(days)} days`;
  return `${day} (${days === 0 ? "on the day" : `${when} ${days < 0 ? "before" : "after"}`})`;
}

function inputs({ of, name, scenes }) {
  const what = of === "block" ? "Input scenes of this pixel's block" : "Input scenes of the whole tile";
  const title = element("p", { title: name }, `${what}${scenes.length ? "" : ": none are recorded"}`);
  const rows = scenes.map((scene) => {
    const parts = [SENSORS[scene.sensor] ?? "unknown sensor", scene.time ? `${scene.time.slice(0, 16).replace("T", " ")} UTC` : "time unknown"];
    if (scene.orbit) parts.push(scene.orbit);
    if (scene.cloud !== null) parts.push(`${Math.round(100 * scene.cloud)} % cloud`);
    return element("li", {}, parts.join(" · "), element("code", {}, scene.id));
  });
  const list = element("ul", { className: "scenes" }, ...rows);
  return of === "block" ? [title, list] : [element("details", {}, element("summary", {}, `${what} (${scenes.length})`), list)];
}
