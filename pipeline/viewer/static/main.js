// The page: what is shown on which side, and what follows when that changes.

import { showAreas } from "./areas.js";
import { addCountries, addGraticule } from "./background.js";
import { element, fetchJson, place } from "./elements.js";
import { readHash, writeHash } from "./hash.js";
import { showLegends } from "./legend.js";
import { addLocator } from "./locator.js";
import { invitePixel, showPixel } from "./pixel.js";
import { addSwipe } from "./swipe.js";

const $ = (id) => document.getElementById(id);
const state = { left: null, right: null, split: 50, opacity: 100, at: null };
let products, layers, map, swipe, marker;

async function start() {
  const [described] = await Promise.all([fetchJson("api/products"), pageReady()]);
  ({ products, layers } = described);
  const hash = readHash();
  state.left = side(hash.left) ?? { product: products[0], layer: "lulc" };
  state.right = side(hash.right) ?? (products.length > 1 && !hash.left ? { product: products[1], layer: "lulc" } : null);
  state.opacity = hash.opacity ?? 100;
  state.split = hash.split ?? 50;

  map = L.map("map", { zoomControl: false, attributionControl: false, maxZoom: 19, minZoom: 1, worldCopyJump: true });
  L.control.zoom({ position: "topleft" }).addTo(map);
  L.control.scale({ position: "bottomleft", imperial: false, maxWidth: 140 }).addTo(map);
  swipe = addSwipe(map, layers, showProblem, (split) => { state.split = split; remember(); });
  addGraticule(map);
  if (hash.map) map.setView(hash.map.slice(1), hash.map[0]);
  else fit();
  addCountries(map, addLocator(map)).catch((error) => showProblem(`The background cannot be shown: ${error.message}`));

  wire();
  invitePixel($("pixel"));
  credits(described.version);
  if (hash.at) ask(L.latLng(hash.at));
  show();
}

// Leaflet is a deferred script of its own: modules may come first.
function pageReady() {
  return window.L ? null : new Promise((done) => addEventListener("DOMContentLoaded", done, { once: true }));
}

function side(wanted) {
  const product = wanted && products.find((p) => p.key === wanted.product);
  return product ? { product, layer: product.layers.includes(wanted.layer) ? wanted.layer : product.layers[0] } : null;
}

function sides() {
  return [state.left, state.right].filter(Boolean);
}

function shownProducts() {
  return [...new Set(sides().map((s) => s.product))];
}

function wholeBounds() {
  const boxes = shownProducts().flatMap((p) => p.tiles.map((t) => [...t.bounds]));
  // A product over the antimeridian is shown in one piece: its western part goes one turn east.
  const turned = boxes.map(([w, s, e, n]) => (w < 0 ? [w + 360, s, e + 360, n] : [w, s, e, n]));
  const span = (all) => Math.max(...all.map((b) => b[2])) - Math.min(...all.map((b) => b[0]));
  const best = span(turned) < span(boxes) ? turned : boxes;
  return L.latLngBounds(best.flatMap(([w, s, e, n]) => [[s, w], [n, e]]));
}

function fit() {
  map.fitBounds(wholeBounds(), { padding: [24, 24], maxZoom: 17 });
}

function show() {
  swipe.show(state);
  showSides();
  showLegends($("legends"), layers, sides().map((s) => s.layer));
  const names = [...new Set(shownProducts().map((p) => p.name))];
  $("title").textContent = names.join(" | ");
  $("subtitle").textContent = [...new Set(shownProducts().map((p) => p.date))].join(" | ");
  document.title = `${names.join(", ")} – CloudLULC viewer`;
  $("notices").replaceChildren(...shownProducts().flatMap((p) => p.notices.map((text) => element("p", {}, text))));
  $("compare").checked = Boolean(state.right);
  $("opacity").value = state.opacity;
  $("opacity-value").textContent = `${state.opacity} %`;
  refreshView();
}

function refreshView() {
  showAreas($("areas"), map, shownProducts());
  remember();
}

function remember() {
  writeHash({ map, ...state });
}

function showProblem(text) {
  const shown = [...$("notices").children].some((p) => p.textContent === text);
  if (!shown) $("notices").append(element("p", {}, text));
}

function showSides() {
  const focused = document.activeElement?.id;
  $("sides").replaceChildren(...["left", "right"].filter((name) => state[name]).map(sideBox));
  if (focused) $(focused)?.focus();
}

function sideBox(name) {
  const { product, layer } = state[name];
  const heading = state.right ? `${name === "left" ? "Left" : "Right"} side` : "Layer";
  const box = element("fieldset", {}, element("legend", {}, heading));
  if (products.length > 1) {
    const choice = element("select", { id: `${name}-product`, ariaLabel: `${heading}: product` },
      ...products.map((p) => element("option", { value: p.key, selected: p === product }, `${p.name}, ${p.date}`)));
    choice.onchange = () => choose(name, { product: choice.value, layer });
    box.append(choice);
  }
  const options = Object.entries(layers).map(([key, about]) => {
    const has = product.layers.includes(key);
    const input = element("input", { type: "radio", name: `${name}-layer`, id: `${name}-${key}`, checked: key === layer, disabled: !has });
    input.onchange = () => choose(name, { product: product.key, layer: key });
    return element("label", { title: has ? about.description : "This product has no such layer" }, input, element("span", {}, about.title));
  });
  box.append(element("div", { className: "layers" }, ...options));
  return box;
}

function choose(name, wanted) {
  const before = shownProducts();
  state[name] = side(wanted);
  show();
  if (state.at && shownProducts().join() !== before.join()) ask(state.at);
}

function compare(wanted) {
  const other = products.find((p) => p !== state.left.product);
  const layer = state.left.product.layers.find((l) => l !== state.left.layer) ?? state.left.layer;
  state.right = !wanted ? null : other ? { product: other, layer: state.left.layer } : { product: state.left.product, layer };
  if (state.right) state.right = side({ product: state.right.product.key, layer: state.right.layer });
  show();
  if (state.at) ask(state.at);
}

function ask(at) {
  state.at = at;
  marker ??= L.circleMarker(at, { pane: "marks", radius: 7, color: "#000", weight: 2, fillColor: "#fff", fillOpacity: 0.25, interactive: false }).addTo(map);
  marker.setLatLng(at);
  showPixel($("pixel"), at, shownProducts()).then(() => $("pixel-title").parentElement.scrollIntoView({ block: "nearest" }));
  remember();
}

function wire() {
  map.createPane("marks").style.zIndex = 640;
  map.on("click", (event) => ask(event.latlng));
  map.on("moveend", refreshView);
  map.getContainer().addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target === map.getContainer()) ask(map.getCenter());
  });
  const say = (at) => ($("coordinates").textContent = place(at.lat, at.lng));
  map.on("mousemove", (event) => say(event.latlng));
  map.on("move", () => say(map.getCenter()));
  say(map.getCenter());
  // Only who pastes another view into the address causes this: replaceState does not.
  addEventListener("hashchange", () => location.reload());
  $("compare").onchange = (event) => compare(event.target.checked);
  $("fit").onclick = fit;
  $("opacity").oninput = (event) => {
    state.opacity = Number(event.target.value);
    $("opacity-value").textContent = `${state.opacity} %`;
    swipe.show(state);
    remember();
  };
}

function credits(version) {
  const notes = new Set(products.map((p) => p.attribution).filter(Boolean));
  const made = [...new Set(products.map((p) => `checkpoint ${p.checkpoint}, ${p.crs}, ${p.license}`))].join("; ");
  $("credits").append(
    ...[...notes].map((text) => element("p", {}, text)),
    element("p", {}, `Map: CloudLULC, ${made}.`),
    element("p", {}, "Coasts and borders: Natural Earth 1:50 million, up to some kilometres off; they express no opinion."),
    element("p", {}, `CloudLULC viewer ${version}, with Leaflet ${L.version}. Nothing is loaded from elsewhere.`));
}

start().catch((error) => {
  $("title").textContent = "The product cannot be shown";
  showProblem(`${error.message}. Is “cloudlulc view” still running?`);
});
