// The state of the page in its address, so that a view can be sent to a colleague.
//   #map=12.5/50.81/3.02&left=ghana-2024-06-15/lulc&right=...&split=50&opacity=80&at=50.81,3.02

export function readHash() {
  const given = new URLSearchParams(location.hash.slice(1));
  const numbers = (name, sign, count) => {
    const found = (given.get(name) ?? "").split(sign).map(Number);
    return found.length === count && found.every(Number.isFinite) && given.get(name) ? found : null;
  };
  const side = (name) => {
    const [product, layer] = (given.get(name) ?? "").split("/");
    return product ? { product, layer } : null;
  };
  return {
    map: numbers("map", "/", 3),
    left: side("left"),
    right: side("right"),
    split: numbers("split", "/", 1)?.[0] ?? null,
    opacity: numbers("opacity", "/", 1)?.[0] ?? null,
    at: numbers("at", ",", 2),
  };
}

export function writeHash({ map, left, right, split, opacity, at }) {
  const centre = map.getCenter();
  const digits = Math.max(2, Math.ceil(map.getZoom() / 3));
  const parts = [
    `map=${map.getZoom()}/${centre.lat.toFixed(digits)}/${centre.lng.toFixed(digits)}`,
    `left=${left.product.key}/${left.layer}`,
  ];
  if (right) parts.push(`right=${right.product.key}/${right.layer}`, `split=${split}`);
  if (opacity !== 100) parts.push(`opacity=${opacity}`);
  if (at) parts.push(`at=${at.lat.toFixed(6)},${at.lng.toFixed(6)}`);
  history.replaceState(null, "", `#${parts.join("&")}`);
}
