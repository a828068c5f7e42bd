// A small map of the surroundings: where on earth the view lies.

export function addLocator(map) {
  const corner = L.control({ position: "bottomleft" });
  corner.onAdd = () => L.DomUtil.create("div", "locator");
  corner.addTo(map);
  const box = corner.getContainer();
  box.ariaHidden = "true";
  const small = L.map(box, {
    zoomControl: false, attributionControl: false, dragging: false, keyboard: false, boxZoom: false, tap: false,
    scrollWheelZoom: false, doubleClickZoom: false, touchZoom: false, zoomSnap: 0, fadeAnimation: false,
  });
  const frame = L.rectangle(map.getBounds(), { color: "#c1121f", weight: 2, fillOpacity: 0.1, interactive: false });
  const dot = L.circleMarker(map.getCenter(), { radius: 4, color: "#fff", weight: 1.5, fillColor: "#c1121f", fillOpacity: 1, interactive: false });

  function follow() {
    small.setView(map.getCenter(), Math.max(0, Math.min(4, map.getZoom() - 4)), { animate: false });
    frame.setBounds(map.getBounds());
    dot.setLatLng(map.getCenter());
    box.hidden = map.getZoom() < 5;
  }
  follow();
  frame.addTo(small);
  dot.addTo(small);
  map.on("moveend", follow);
  return small;
}
