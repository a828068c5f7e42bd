// What lies behind the product: land, borders, and a graticule with labels on the map's edge.

import { fetchJson } from "./elements.js";

const STEPS = [30, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005];
const LINES = 7; // at most, along the longer side of the map

// On the map land lies under the product and borders over it; on the locator there is no product.
export async function addCountries(map, locator) {
  const countries = await fetchJson("api/countries");
  const land = { stroke: true, color: "#b4bec6", weight: 1, fillColor: "#f4f3ee", fillOpacity: 1 };
  const border = { color: "#2b3640", weight: 0.8, opacity: 0.55, fill: false };
  for (const [where, name, zIndex, style] of [
    [map, "land", 150, land], [map, "borders", 450, border], [locator, "land", 150, land],
  ]) {
    const pane = where.createPane(name);
    Object.assign(pane.style, { zIndex, pointerEvents: "none" });
    const renderer = L.canvas({ pane: name, padding: 0.3 });
    L.geoJSON(countries, { pane: name, renderer, style, interactive: false }).addTo(where);
  }
}

export function addGraticule(map) {
  const pane = map.createPane("graticule");
  pane.style.zIndex = 460;
  pane.style.pointerEvents = "none";
  const group = L.layerGroup().addTo(map);
  const line = { pane: "graticule", color: "#46525c", weight: 0.6, opacity: 0.45, interactive: false };

  function label(point, text, anchor) {
    const icon = L.divIcon({ className: "graticule-label", html: text, iconSize: [70, 14], iconAnchor: anchor });
    L.marker(point, { icon, pane: "graticule", interactive: false, keyboard: false }).addTo(group);
  }

  function draw() {
    group.clearLayers();
    const size = map.getSize();
    const bounds = map.getBounds();
    const west = bounds.getWest(), east = bounds.getEast();
    const south = Math.max(-85, bounds.getSouth()), north = Math.min(85, bounds.getNorth());
    const across = (east - west) * Math.max(1, size.y / size.x);
    const step = STEPS.findLast((s) => across / s <= LINES) ?? STEPS[0];
    const digits = Math.max(0, Math.ceil(-Math.log10(step) - 1e-9));
    const corner = map.containerPointToLatLng([4, size.y - 4]);
    for (let i = Math.ceil(west / step); i * step <= east; i++) {
      const lng = i * step;
      const turn = ((lng + 180) % 360 + 360) % 360 - 180;
      L.polyline([[south, lng], [north, lng]], line).addTo(group);
      const text = `${Math.abs(turn).toFixed(digits)}° ${turn < 0 ? "W" : "E"}`;
      label([map.containerPointToLatLng([0, 4]).lat, lng], text, [-4, 0]);
    }
    for (let i = Math.ceil(south / step); i * step <= north; i++) {
      const lat = i * step;
      L.polyline([[lat, west], [lat, east]], line).addTo(group);
      label([lat, corner.lng], `${Math.abs(lat).toFixed(digits)}° ${lat < 0 ? "S" : "N"}`, [0, 16]);
    }
  }
  map.on("moveend zoomend resize", draw);
  map.whenReady(draw);
}
