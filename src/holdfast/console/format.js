// How numbers, times and names are written. Times come as RFC 3339 in UTC and are shown in the reader's own zone.

const number = new Intl.NumberFormat("en");
const clockTime = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayTime = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });
const MICROS = 1e6;
let currency = "USD";

/** Tell in which currency the gateway keeps its books. */
export function useCurrency(code) {
  if (/^[A-Z]{3}$/.test(code)) currency = code;
}

export const count = (value) => number.format(value);

/** Millionths as an amount; below a cent as many digits as it takes to be no zero. */
export function money(micros, code = currency) {
  const amount = micros / MICROS;
  const small = amount !== 0 && Math.abs(amount) < 1;
  return new Intl.NumberFormat("en", { style: "currency", currency: code, maximumFractionDigits: small ? 4 : 2 }).format(amount);
}

/** Seconds as people read them: `0.4 s`, `42 s`, `3 min 05 s`, `2 h 10 min`. */
export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 9.95) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 120) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function bytes(value) {
  if (value < 1000) return `${value} B`;
  return value < 1e6 ? `${(value / 1e3).toFixed(0)} KB` : `${(value / 1e6).toFixed(1)} MB`;
}

export const percent = (share) => `${(share * 100).toFixed(share > 0.995 && share < 1 ? 1 : 0)} %`;
export const time = (text) => (text ? clockTime.format(new Date(text)) : "–");
export const moment = (text) => (text ? dayTime.format(new Date(text)) : "–");
export const epoch = (text) => Date.parse(text) / 1000;

/** How long ago: `5 min ago`. */
export function ago(text, now = Date.now()) {
  const past = (Date.parse(text) - now) / 1000;
  for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    if (Math.abs(past) >= size) return relative.format(Math.trunc(past / size), unit);
  }
  return relative.format(Math.trunc(past), "second");
}

/** The last letters of an id, which are what differs. */
export const short = (id) => `…${String(id).slice(-6)}`;
/** `lost_reply` as words. */
export const words = (code) => String(code).replaceAll("_", " ");

const TONES = {
  queued: "idle", running: "busy", succeeded: "good", failed: "bad", cancelled: "idle",
  sent: "busy", polling: "busy", settled: "good", rejected: "warn", charged_failed: "bad", unknown: "warn",
  ready: "good", resting: "warn", half_open: "warn", cooling: "warn", ejected: "bad", retired: "idle",
  valid: "good", expired: "idle", revoked: "bad",
};
export const tone = (status) => TONES[status] ?? "idle";
