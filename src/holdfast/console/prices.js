// What an image costs, read off the settings that are in force.

/**
 * The price of one image today in micro-units, margin included; null where it is not known. Pure but for the date.
 *
 * @param {{name: string, value: unknown}[]} settings As `/admin/v1/settings` gives them.
 * @param {string} today A day in UTC, `2026-11-28`: of several prices the one that took over last holds.
 */
export function priceOf(settings, model, size, today = new Date().toISOString().slice(0, 10)) {
  const rows = new Map();
  for (const { name, value } of settings) {
    const [, index, field] = /^prices\[(\d+)\]\.(.+)$/.exec(name) ?? [];
    if (field) rows.set(index, { ...rows.get(index), [field]: value });
  }
  const margin = Number(settings.find(({ name }) => name === "money.margin")?.value ?? 1);
  const [found] = [...rows.values()]
    .filter((row) => row.model === model && !row.group && (row.valid_from ?? "") <= today && (!row.valid_until || today <= row.valid_until))
    .sort((a, b) => String(b.valid_from).localeCompare(String(a.valid_from)))
    .map((row) => microsOf(row, size))
    .filter((micros) => micros !== null);
  return found === undefined ? null : Math.round(found * margin);
}

function microsOf(row, size) {
  const direct = row.micros?.[size] ?? row[`micros.${size}`];
  if (typeof direct === "number") return direct;
  // Priced by quality: `1K/high`; the dearest is what a hold takes.
  const graded = Object.entries(row.micros ?? {}).filter(([name]) => name.startsWith(`${size}/`)).map(([, micros]) => micros);
  return graded.length ? Math.max(...graded) : null;
}
