import { Button, NativeSelect, TextInput } from "@mantine/core";
import { useId, useState } from "react";
import type { Operation } from "../api/client";
import classes from "./review.module.css";

type Rules = Operation["classification"]["approval_rules"];
type Threshold = Rules["thresholds"][number];
type Limit = Rules["limits"][number];

const COMPARISONS: readonly { value: Threshold["comparison"]; label: string }[] = [
  { value: "gt", label: "more than" },
  { value: "ge", label: "at least" },
  { value: "lt", label: "less than" },
  { value: "le", label: "at most" },
  { value: "eq", label: "exactly" },
  { value: "ne", label: "anything but" },
];
const WHO: readonly { value: NonNullable<Threshold["who"]>; label: string }[] = [
  { value: "lead", label: "a support lead too" },
  { value: "customer", label: "the customer, each time" },
];

/** A rule while it is written: its numbers are the text that stands in the field. */
interface Row {
  id: number;
  argument: string;
}
interface ThresholdRow extends Row, Pick<Threshold, "comparison"> {
  who: NonNullable<Threshold["who"]>;
  value: string;
}
interface LimitRow extends Row {
  limit: string;
  hours: string;
}
interface Written {
  standing: boolean;
  thresholds: ThresholdRow[];
  limits: LimitRow[];
}

interface RulesFieldsProps {
  /** As they stand when the fields appear. */
  rules: Rules;
  /** Names of the operation's arguments; those in its body are pointers already. */
  names: readonly string[];
  onRules: (rules: Rules) => void;
}

/** What is demanded beyond the customer's yes: consent, thresholds, totals. */
export function RulesFields({ rules, names, onRules }: RulesFieldsProps) {
  const [written, setWritten] = useState(() => writtenOf(rules));
  const { standing, thresholds, limits } = written;
  const list = useId();
  const set = (more: Partial<Written>) => {
    const next = { ...written, ...more };
    setWritten(next);
    onRules(rulesOf(next));
  };
  const threshold = (id: number, more: Partial<ThresholdRow>) =>
    set({ thresholds: changed(thresholds, id, more) });
  const limit = (id: number, more: Partial<LimitRow>) => set({ limits: changed(limits, id, more) });
  return (
    <fieldset className={classes.rules}>
      <legend>What is demanded beyond the customer's yes</legend>
      <label className={classes.tick}>
        <input
          type="checkbox"
          checked={standing}
          onChange={(event) => set({ standing: event.currentTarget.checked })}
        />
        <span>The customer may say yes once for a whole conversation</span>
      </label>
      <datalist id={list}>
        {names.map((name) => (
          <option key={name} value={name.startsWith("/") ? name : `/${name}`} />
        ))}
      </datalist>
      {thresholds.map(({ id, argument, comparison, value, who }, index) => (
        <div key={id} role="group" aria-label={`Threshold ${index + 1}`} className={classes.rule}>
          <TextInput
            size="xs"
            label="If"
            placeholder="/body/amount"
            pattern="/.*"
            required
            list={list}
            value={argument}
            onChange={(event) => threshold(id, { argument: event.currentTarget.value })}
          />
          <NativeSelect
            size="xs"
            label="is"
            data={[...COMPARISONS]}
            value={comparison}
            onChange={(event) =>
              threshold(id, { comparison: event.currentTarget.value as Threshold["comparison"] })
            }
          />
          <TextInput
            size="xs"
            label="a number or text"
            required
            value={value}
            onChange={(event) => threshold(id, { value: event.currentTarget.value })}
          />
          <NativeSelect
            size="xs"
            label="then asks"
            data={[...WHO]}
            value={who}
            onChange={(event) => threshold(id, { who: event.currentTarget.value as "lead" })}
          />
          <Button
            size="compact-xs"
            variant="default"
            aria-label={`Delete threshold ${index + 1}`}
            onClick={() => set({ thresholds: thresholds.filter((row) => row.id !== id) })}
          >
            Delete
          </Button>
        </div>
      ))}
      {limits.map(({ id, argument, limit: most, hours }, index) => (
        <div key={id} role="group" aria-label={`Limit ${index + 1}`} className={classes.rule}>
          <TextInput
            size="xs"
            label="If the sum of"
            placeholder="the number of calls"
            pattern="/.*"
            list={list}
            value={argument}
            onChange={(event) => limit(id, { argument: event.currentTarget.value })}
          />
          <TextInput
            size="xs"
            type="number"
            step="any"
            min={0}
            label="passes"
            required
            value={most}
            onChange={(event) => limit(id, { limit: event.currentTarget.value })}
          />
          <TextInput
            size="xs"
            type="number"
            step="any"
            min={0}
            label="in hours"
            required
            value={hours}
            onChange={(event) => limit(id, { hours: event.currentTarget.value })}
          />
          <Button
            size="compact-xs"
            variant="default"
            aria-label={`Delete limit ${index + 1}`}
            onClick={() => set({ limits: limits.filter((row) => row.id !== id) })}
          >
            Delete
          </Button>
        </div>
      ))}
      <div className={classes.actions}>
        <Button
          size="compact-xs"
          variant="default"
          onClick={() => set({ thresholds: [...thresholds, thresholdRow(nextId(thresholds))] })}
        >
          Add a threshold
        </Button>
        <Button
          size="compact-xs"
          variant="default"
          onClick={() => set({ limits: [...limits, limitRow(nextId(limits))] })}
        >
          Add a limit per customer
        </Button>
      </div>
    </fieldset>
  );
}

const thresholdRow = (id: number): ThresholdRow => ({
  id,
  argument: "",
  comparison: "gt",
  value: "",
  who: "lead",
});
const limitRow = (id: number): LimitRow => ({ id, argument: "", limit: "", hours: "24" });

function nextId(rows: readonly Row[]): number {
  return Math.max(0, ...rows.map((row) => row.id)) + 1;
}

function changed<R extends Row>(rows: readonly R[], id: number, more: Partial<R>): R[] {
  return rows.map((row) => (row.id === id ? { ...row, ...more } : row));
}

function writtenOf({ standing_consent, thresholds, limits }: Rules): Written {
  return {
    standing: standing_consent,
    thresholds: thresholds.map(({ value, who, ...rest }, id) => ({
      ...rest,
      id,
      value: String(value),
      who: who ?? "lead",
    })),
    limits: limits.map(({ argument, limit, window_hours }, id) => ({
      id,
      argument: argument ?? "",
      limit: String(limit),
      hours: String(window_hours),
    })),
  };
}

function rulesOf({ standing, thresholds, limits }: Written): Rules {
  return {
    standing_consent: standing,
    thresholds: thresholds.map(({ id: _, value, ...rest }) => ({
      ...rest,
      value: asComparable(value),
    })),
    limits: limits.map(
      ({ argument, limit, hours }): Limit => ({
        argument: argument === "" ? null : argument,
        limit: Number(limit),
        window_hours: Number(hours),
      }),
    ),
  };
}

/** A number if it is one; any other text is compared as the text that it is. */
function asComparable(text: string): number | string {
  const number = Number(text);
  return text.trim() !== "" && Number.isFinite(number) ? number : text;
}
