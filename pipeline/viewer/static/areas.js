// The table of areas: of each class in the view, of one product or of two beside each other.

import { element, fetchJson, km2Of, percent, swatch } from "./elements.js";

let asked = 0;

export async function showAreas(box, map, products) {
  const request = ++asked;
  const view = map.getBounds();
  const query = new URLSearchParams({
    west: clamp(view.getWest(), 720), south: clamp(view.getSouth(), 90),
    east: clamp(view.getEast(), 720), north: clamp(view.getNorth(), 90),
  });
  box.setAttribute("aria-busy", "true");
  let found;
  try {
    found = await Promise.all(products.map((p) => fetchJson(`api/${p.key}/areas?${query}`)));
  } catch (error) {
    found = null;
    if (request === asked) box.replaceChildren(element("p", { className: "quiet" }, error.message));
  }
  // An answer to an earlier view must not overwrite that of a later one.
  if (request !== asked) return;
  box.removeAttribute("aria-busy");
  if (found) box.replaceChildren(...(found.length === 1 ? single(found[0]) : pair(found, products)));
}

function clamp(value, most) {
  return Math.max(-most, Math.min(most, value));
}

function total(areas) {
  return areas.classes.reduce((sum, c) => sum + c.km2, 0);
}

function single(areas) {
  const mapped = total(areas);
  const km2 = km2Of(mapped);
  const rows = areas.classes.map((c) => row(c, [km2(c.km2), mapped ? percent(c.km2 / mapped) : ""], !c.km2));
  return [table(["Class", "km²", "share"], rows, ["Mapped", km2(mapped), mapped ? "100 %" : ""]), note([areas], mapped)];
}

function pair([left, right], products) {
  const sums = [total(left), total(right)];
  const km2 = km2Of(Math.max(...sums));
  const change = (difference) => {
    const size = km2(Math.abs(difference));
    return Number(size.replaceAll(",", "")) ? `${difference > 0 ? "+" : "−"}${size}` : "0";
  };
  const codes = new Map([...left.classes, ...right.classes].map((c) => [c.code, c]));
  const rows = [...codes.values()].sort((a, b) => a.code - b.code).map((c) => {
    const [a, b] = [left, right].map((side) => side.classes.find((d) => d.code === c.code)?.km2 ?? 0);
    return row(c, [km2(a), km2(b), change(b - a)], !a && !b);
  });
  const heads = products.map((p, i) => (products[0].date === products[1].date ? ["left", "right"][i] : p.date));
  const foot = ["Mapped", km2(sums[0]), km2(sums[1]), change(sums[1] - sums[0])];
  return [table(["km²", ...heads, "change"], rows, foot), note([left, right], sums[0] + sums[1])];
}

function row(c, cells, none) {
  return element("tr", { className: none ? "none" : "" },
    element("td", {}, swatch(c.color), c.name), ...cells.map((text) => element("td", {}, text)));
}

function table(heads, rows, foot) {
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)));
  const last = element("tr", {}, ...foot.map((text) => element("td", {}, text)));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows), element("tfoot", {}, last));
}

function note(found, mapped) {
  const coarser = Math.max(...found.map((areas) => areas.coarser));
  const text = !mapped
    ? "Nothing in view is mapped. “Whole product” leads back to it."
    : coarser > 1
      ? `Approximate: counted on overviews, pixels ${coarser} times coarser than the map's. Zoom in for exact areas.`
      : "Every pixel counted, areas on the WGS 84 ellipsoid.";
  return element("p", { className: "note" }, text);
}
