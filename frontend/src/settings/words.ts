import { duration } from "../ui/time";

const UNITS = ["B", "KiB", "MiB", "GiB"];

/** A setting's value with its unit, which its name tells. */
export function amount(name: string, value: number | string): string {
  if (typeof value === "string") return value;
  if (name.endsWith("_BYTES")) {
    let [size, unit] = [value, 0];
    while (size >= 1024 && unit < UNITS.length - 1) [size, unit] = [size / 1024, unit + 1];
    return `${size.toLocaleString("en-GB", { maximumFractionDigits: 1 })} ${UNITS[unit]}`;
  }
  if (/_(TIMEOUT|WINDOW|TTL|AFTER)$/.test(name)) return duration(value * 1_000);
  return value.toLocaleString("en-GB");
}
