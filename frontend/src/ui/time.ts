/** Times and amounts in words. */

/** `740 ms`, `4.1 s`, `3 min 20 s`, `2 h 5 min`. */
export function duration(milliseconds: number): string {
  if (milliseconds < 1) return milliseconds === 0 ? "0 ms" : "< 1 ms";
  if (milliseconds < 999.5) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return parts(whole, "min", "s");
  return parts(Math.round(seconds / 60), "h", "min");
}

function parts(amount: number, large: string, small: string): string {
  const rest = amount % 60;
  return `${Math.floor(amount / 60)} ${large}${rest === 0 ? "" : ` ${rest} ${small}`}`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const SHORT = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

export function clock(at: string): string {
  return CLOCK.format(new Date(at));
}

export function dayAndTime(at: string): string {
  const date = new Date(at);
  return `${DAY.format(date)}, ${CLOCK.format(date)}`;
}

/** `just now`, `5 min ago`, `14:02`, `3 Nov 2026`. */
export function ago(at: string, now: number): string {
  const date = new Date(at);
  const minutes = Math.floor((now - date.getTime()) / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  if (date.toDateString() === new Date(now).toDateString()) return SHORT.format(date);
  return DAY.format(date);
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString("en-GB")} ${count === 1 ? one : many}`;
}
