// The structure in 3D: atoms, and the edges of the cell.

const COLOURS = { Li: "#b072e8", Si: "#e8b04a", O: "#e05252", Na: "#7c8cf0", C: "#808890", H: "#d8dce4" };
const OTHER = "#4aa38f";
let view = null;

export const colourOf = (symbol) => COLOURS[symbol] || OTHER;

export function show(place, structure) {
  if (!window.$3Dmol) {
    place.textContent = "This browser cannot show structures in 3D.";
    return;
  }
  try {
    view ||= window.$3Dmol.createViewer(place, { antialias: true });
  } catch {
    view = null;
  }
  if (!view) {
    place.textContent = "This browser cannot show structures in 3D (WebGL is missing).";
    return;
  }
  const ground = getComputedStyle(place).backgroundColor;
  view.setBackgroundColor(ground);
  view.removeAllModels();
  view.removeAllShapes();
  const model = view.addModel();
  model.addAtoms(structure.cartesian_site_positions.map(([x, y, z], i) => ({
    elem: structure.species_at_sites[i], x, y, z, bonds: [], bondOrder: [], serial: i, index: i,
  })));
  for (const symbol of new Set(structure.species_at_sites)) {
    view.setStyle({ elem: symbol }, { sphere: { radius: 0.75, color: colourOf(symbol) } });
  }
  for (const [start, end] of edges(structure.lattice_vectors)) {
    view.addLine({ start: point(start), end: point(end), color: getComputedStyle(place).color, linewidth: 2 });
  }
  view.zoomTo();
  view.zoom(0.9);
  view.render();
}

const point = ([x, y, z]) => ({ x, y, z });

function edges(cell) {
  const corner = (i, j, k) => [0, 1, 2].map((d) => i * cell[0][d] + j * cell[1][d] + k * cell[2][d]);
  const found = [];
  for (const [a, b] of [[0, 0], [0, 1], [1, 0], [1, 1]]) {
    found.push([corner(0, a, b), corner(1, a, b)], [corner(a, 0, b), corner(a, 1, b)], [corner(a, b, 0), corner(a, b, 1)]);
  }
  return found;
}
