/** The range of the dashboard, as the address has it. */

export const PRESETS = { "24h": 1, "7d": 7, "30d": 30, "90d": 90 } as const;
export type Preset = keyof typeof PRESETS;
export const PRESET_WORDS: Record<Preset, string> = {
  "24h": "24 hours",
  "7d": "7 days",
  "30d": "30 days",
  "90d": "90 days",
};
export const USUAL: Preset = "7d";

/** Either a preset, or the first and the last day (both `2026-11-23`, local, both inside). */
export interface DashboardSearch {
  range?: Preset | undefined;
  from?: string | undefined;
  to?: string | undefined;
}

export interface Range {
  start: string;
  end: string;
  bucket: "hour" | "day";
}

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

export function dashboardSearch({ range, from, to }: Record<string, unknown>): DashboardSearch {
  if (from !== undefined || to !== undefined)
    return { from: String(from ?? ""), to: String(to ?? "") };
  return typeof range === "string" && Object.hasOwn(PRESETS, range) && range !== USUAL
    ? { range: range as Preset }
    : {};
}

/** The range that is meant, or in words why there is none. */
export function rangeOf(search: DashboardSearch, now: number): Range | { wrong: string } {
  if (search.from === undefined && search.to === undefined) {
    const end = Math.ceil(now / HOUR) * HOUR;
    return rangeFrom(end - PRESETS[search.range ?? USUAL] * DAY, end);
  }
  const first = localDay(search.from);
  const last = localDay(search.to);
  if (first === null || last === null) return { wrong: "Choose a first and a last day." };
  if (last < first)
    return {
      wrong: "The range ends before it begins: choose a last day that is not before the first.",
    };
  // The day after, whatever clock change lies between.
  const end = new Date(last.getFullYear(), last.getMonth(), last.getDate() + 1);
  return rangeFrom(first.getTime(), end.getTime());
}

/** The range of the same length that ends where this one begins. */
export function before({ start, end }: Range): { start: string; end: string } {
  const length = Date.parse(end) - Date.parse(start);
  return { start: iso(Date.parse(start) - length), end: start };
}

function rangeFrom(start: number, end: number): Range {
  return { start: iso(start), end: iso(end), bucket: end - start <= 2 * DAY ? "hour" : "day" };
}

const iso = (at: number) => new Date(at).toISOString().replace(".000Z", "Z");

function localDay(text: string | undefined): Date | null {
  const found = /^(\d{4})-(\d{2})-(\d{2})$/.exec(text ?? "");
  if (found === null) return null;
  const [year, month, day] = found.slice(1).map(Number) as [number, number, number];
  const at = new Date(year, month - 1, day);
  // 31 February would be a day in March; a year before 2000 has nothing to show.
  return at.getMonth() === month - 1 && at.getDate() === day && year >= 2000 ? at : null;
}

/** `2026-11-23` of a moment, for a date field. */
export function dayOf(at: string): string {
  const date = new Date(at);
  const two = (part: number) => String(part).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}
