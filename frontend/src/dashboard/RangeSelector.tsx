import { Button, SegmentedControl, TextInput } from "@mantine/core";
import { type FormEvent, useState } from "react";
import classes from "./dashboard.module.css";
import {
  type DashboardSearch,
  dayOf,
  PRESET_WORDS,
  type Preset,
  type Range,
  rangeOf,
  USUAL,
} from "./range";

interface RangeSelectorProps {
  search: DashboardSearch;
  range: Range | { wrong: string };
  onSearch: (search: DashboardSearch) => void;
}

const CHOICES = [
  ...Object.entries(PRESET_WORDS).map(([value, label]) => ({ value, label })),
  { value: "custom", label: "Custom" },
];

export function RangeSelector({ search, range, onSearch }: RangeSelectorProps) {
  const custom = search.from !== undefined;
  const [open, setOpen] = useState(custom);
  return (
    <div className={classes.ranges}>
      <SegmentedControl
        size="sm"
        fullWidth
        aria-label="Range"
        data={CHOICES}
        value={open ? "custom" : (search.range ?? USUAL)}
        onChange={(value) => {
          setOpen(value === "custom");
          if (value !== "custom") onSearch(value === USUAL ? {} : { range: value as Preset });
        }}
      />
      {open && (
        <CustomRange
          key={`${search.from} ${search.to}`}
          from={search.from ?? ("start" in range ? dayOf(range.start) : "")}
          to={search.to ?? ("end" in range ? dayOf(range.end) : "")}
          onSearch={onSearch}
        />
      )}
    </div>
  );
}

function CustomRange({
  from,
  to,
  onSearch,
}: {
  from: string;
  to: string;
  onSearch: (search: DashboardSearch) => void;
}) {
  const [first, setFirst] = useState(from);
  const [last, setLast] = useState(to);
  const [wrong, setWrong] = useState<string | null>(null);
  const show = (event: FormEvent) => {
    event.preventDefault();
    const meant = rangeOf({ from: first, to: last }, 0);
    setWrong("wrong" in meant ? meant.wrong : null);
    if (!("wrong" in meant)) onSearch({ from: first, to: last });
  };
  return (
    <form className={classes.custom} onSubmit={show} noValidate>
      <TextInput
        type="date"
        label="First day"
        value={first}
        onChange={(event) => setFirst(event.currentTarget.value)}
      />
      <TextInput
        type="date"
        label="Last day"
        value={last}
        error={wrong !== null}
        aria-describedby={wrong === null ? undefined : "wrong-range"}
        onChange={(event) => setLast(event.currentTarget.value)}
      />
      <Button type="submit" variant="default">
        Show
      </Button>
      {wrong !== null && (
        <p id="wrong-range" role="alert" className={classes.wrong}>
          {wrong}
        </p>
      )}
    </form>
  );
}
