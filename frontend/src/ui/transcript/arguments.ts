/** The single values of a call's arguments, to be changed one by one. */

export type Scalar = string | number | boolean;

export interface Leaf {
  path: readonly string[];
  /** As a person reads it: `body.amount` is `amount`. */
  name: string;
  value: Scalar;
}

/** Every text, number and yes/no in `value`, in order. What is empty or unknown is left out. */
export function leavesOf(value: unknown, path: readonly string[] = []): Leaf[] {
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") {
    const shown = path[0] === "body" && path.length > 1 ? path.slice(1) : path;
    return [{ path, name: shown.join("."), value }];
  }
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => leavesOf(inner, [...path, key]));
}

/** `value` with the leaf at `path` set to `next`; nothing else of it changes. */
export function withLeaf(value: unknown, path: readonly string[], next: Scalar): unknown {
  const [first, ...rest] = path;
  if (first === undefined) return next;
  if (Array.isArray(value))
    return value.map((inner, place) =>
      String(place) === first ? withLeaf(inner, rest, next) : inner,
    );
  const object = value as Record<string, unknown>;
  return { ...object, [first]: withLeaf(object[first], rest, next) };
}

/** The value that was typed, in the kind that was there before; null if it is none of that kind. */
export function typed(before: Scalar, text: string): Scalar | null {
  if (typeof before === "string") return text;
  if (typeof before === "boolean") return text === "true";
  const number = Number(text.replace(",", "."));
  return text.trim() !== "" && Number.isFinite(number) ? number : null;
}
