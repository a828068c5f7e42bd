// Elements and numbers as the panel shows them.

// Text is only ever set as text: names come from documents that somebody else may have written.
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in made && name !== "list") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function swatch(color) {
  const made = element("span", { className: "swatch" });
  if (color) made.style.background = color;
  return made;
}

// As many digits for all of a table as its largest area deserves.
export function km2Of(largest) {
  const digits = largest < 10 ? 3 : largest < 100 ? 2 : largest < 10000 ? 1 : 0;
  const format = new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return (value) => (value === 0 ? "0" : format.format(value));
}

export function percent(share) {
  if (share > 0 && share < 0.0005) return "<0.1 %";
  return `${(100 * share).toFixed(1)} %`;
}

export function place(lat, lng, digits = 5) {
  const turn = (((lng + 180) % 360) + 360) % 360 - 180;
  const north = `${Math.abs(lat).toFixed(digits)}° ${lat < 0 ? "S" : "N"}`;
  return `${north}, ${Math.abs(turn).toFixed(digits)}° ${turn < 0 ? "W" : "E"}`;
}

export async function fetchJson(address) {
  const answer = await fetch(address);
  const document = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(document.detail ?? `${address}: ${answer.status}`);
  return document;
}
