// A layered drawing of a graph, callers left of what they call (after Sugiyama,
// Tagawa and Toda 1981: break cycles, assign layers, order by barycentre).

const SWEEPS = 8;

// Takes names and edges {from, to}; gives each name its layer and its row.
export function layers(names, edges) {
  const next = new Map(names.map((name) => [name, []]));
  for (const { from, to } of edges) {
    if (from !== to && next.has(from) && next.has(to)) next.get(from).push(to);
  }
  const forward = withoutCycles(names, next);
  const layer = longestPaths(names, forward);
  const columns = [];
  for (const name of names) (columns[layer.get(name)] ??= []).push(name);
  order(columns, forward);
  return columns;
}

// Drops the edges that lead back to a name still being visited.
function withoutCycles(names, next) {
  const done = new Set();
  const open = new Set();
  const forward = new Map(names.map((name) => [name, []]));
  const visit = (name) => {
    open.add(name);
    for (const to of next.get(name)) {
      if (open.has(to)) continue;
      forward.get(name).push(to);
      if (!done.has(to)) visit(to);
    }
    open.delete(name);
    done.add(name);
  };
  const called = new Set([...next.values()].flat());
  const roots = names.filter((name) => !called.has(name));
  for (const name of [...roots, ...names]) if (!done.has(name)) visit(name);
  return forward;
}

function longestPaths(names, forward) {
  const layer = new Map(names.map((name) => [name, 0]));
  for (let round = 0; round < names.length; round += 1) {
    let moved = false;
    for (const name of names) {
      for (const to of forward.get(name)) {
        if (layer.get(to) > layer.get(name)) continue;
        layer.set(to, layer.get(name) + 1);
        moved = true;
      }
    }
    if (!moved) break;
  }
  return layer;
}

// Sorts each column by the mean row of its neighbours in the one before, to and fro.
function order(columns, forward) {
  const before = new Map();
  for (const [from, all] of forward) {
    for (const to of all) before.set(to, [...(before.get(to) ?? []), from]);
  }
  const rows = () => new Map(columns.flatMap((column) => column.map((name, row) => [name, row])));
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const back = sweep % 2 === 1;
    for (const column of back ? [...columns].reverse() : columns) {
      const row = rows();
      const mean = (name) => {
        const near = (back ? forward : before).get(name) ?? [];
        if (near.length === 0) return row.get(name);
        return near.reduce((sum, other) => sum + row.get(other), 0) / near.length;
      };
      const at = new Map(column.map((name) => [name, mean(name)]));
      column.sort((a, b) => at.get(a) - at.get(b));
    }
  }
}
