// A line chart with an uncertainty band as SVG: axes with titles and units, nothing else.

const NAMESPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 320;
const EDGE = { left: 78, right: 16, top: 14, bottom: 48 };

function element(name, attributes, text) {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// About five round numbers that cover [low, high].
export function ticks(low, high) {
  const raw = (high - low) / 5 || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + 1e-9 * step; i++) found.push(i * step);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return found.map((value) => ({ value, text: value.toFixed(digits) }));
}

// points: [{x, y, spread, outside, label}]; titles: {x, y, name}
export function lineChart(points, titles) {
  const WIDTH = Math.max(280, Math.min(720, innerWidth - 70)); // drawn at its size on a phone: text stays readable
  const xs = points.map((p) => p.x);
  const lows = points.map((p) => p.y - (p.spread || 0)), highs = points.map((p) => p.y + (p.spread || 0));
  const pad = (a, b) => [a - 0.06 * (b - a || 1), b + 0.06 * (b - a || 1)];
  const [x0, x1] = pad(Math.min(...xs), Math.max(...xs));
  const [y0, y1] = pad(Math.min(...lows), Math.max(...highs));
  const px = (x) => EDGE.left + ((x - x0) / (x1 - x0)) * (WIDTH - EDGE.left - EDGE.right);
  const py = (y) => HEIGHT - EDGE.bottom - ((y - y0) / (y1 - y0)) * (HEIGHT - EDGE.top - EDGE.bottom);

  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": titles.name });
  for (const { value, text } of ticks(x0, x1)) {
    svg.append(element("line", { class: "axis", x1: px(value), x2: px(value), y1: EDGE.top, y2: HEIGHT - EDGE.bottom }));
    svg.append(element("text", { x: px(value), y: HEIGHT - EDGE.bottom + 18, "text-anchor": "middle" }, text));
  }
  for (const { value, text } of ticks(y0, y1)) {
    svg.append(element("line", { class: "axis", x1: EDGE.left, x2: WIDTH - EDGE.right, y1: py(value), y2: py(value) }));
    svg.append(element("text", { x: EDGE.left - 8, y: py(value) + 4, "text-anchor": "end" }, text));
  }
  svg.append(element("text", { x: (EDGE.left + WIDTH) / 2, y: HEIGHT - 8, "text-anchor": "middle" }, titles.x));
  const middle = (HEIGHT - EDGE.bottom) / 2;
  svg.append(element("text", { x: 16, y: middle, "text-anchor": "middle", transform: `rotate(-90 16 ${middle})` }, titles.y));

  const upper = points.map((p, i) => `${px(p.x)},${py(highs[i])}`);
  const lower = points.map((p, i) => `${px(p.x)},${py(lows[i])}`).reverse();
  svg.append(element("polygon", { class: "band", points: [...upper, ...lower].join(" ") }));
  svg.append(element("polyline", { class: "line", points: points.map((p) => `${px(p.x)},${py(p.y)}`).join(" ") }));
  for (const p of points) {
    const dot = element("circle", { class: p.outside ? "dot outside" : "dot", cx: px(p.x), cy: py(p.y), r: 4 });
    dot.append(element("title", {}, p.label));
    svg.append(dot);
  }
  return svg;
}
