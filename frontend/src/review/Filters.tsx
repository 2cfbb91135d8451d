import { NativeSelect, TextInput } from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { memo, type Ref, useEffect, useState } from "react";
import { Icon } from "../ui/icons";
import type { choices, Grouped } from "./groups";
import classes from "./review.module.css";
import type { Filter, ReviewSearch } from "./search";
import { STATE_WORDS } from "./words";

interface FiltersProps {
  filter: Filter;
  groups: readonly Grouped[];
  choices: ReturnType<typeof choices>;
  searchField: Ref<HTMLInputElement>;
  onFilter: (more: ReviewSearch) => void;
}

/** Which operations are shown. The address holds it, so a link shows the same. */
export const Filters = memo(function Filters(props: FiltersProps) {
  const { filter, groups, choices, searchField, onFilter } = props;
  const all = groups.reduce((sum, { operations }) => sum + operations.length, 0);
  const select = <Name extends "state" | "access" | "risk" | "tag" | "agent">(
    name: Name,
    label: string,
    values: readonly (string | { value: string; label: string })[],
  ) => (
    <NativeSelect
      size="xs"
      aria-label={label}
      data={[{ value: "", label }, ...values]}
      value={filter[name] ?? ""}
      onChange={(event) => onFilter({ [name]: event.currentTarget.value || undefined })}
    />
  );
  return (
    <div className={classes.filters} role="search">
      <SearchField
        query={filter.query ?? ""}
        field={searchField}
        onQuery={(text) => onFilter({ query: text || undefined })}
      />
      <div className={classes.selects}>
        {select(
          "state",
          "State",
          Object.entries(STATE_WORDS).map(([value, label]) => ({ value, label })),
        )}
        {select("access", "Access", ["read", "write"])}
        {select("risk", "Risk", ["low", "medium", "high"])}
        {choices.tags.length > 0 && select("tag", "Tag", choices.tags)}
        {select("agent", "Agent", choices.agents)}
      </div>
      <div className={classes.chips}>
        <button
          type="button"
          aria-pressed={filter.group === undefined}
          onClick={() => onFilter({ group: undefined })}
        >
          All <span>{all.toLocaleString("en-GB")}</span>
        </button>
        {groups
          .filter(({ id, operations }) => operations.length > 0 || id === filter.group)
          .map(({ id, short, operations }) => (
            <button
              key={id}
              type="button"
              data-group={id}
              aria-pressed={filter.group === id}
              onClick={() => onFilter({ group: filter.group === id ? undefined : id })}
            >
              {short} <span>{operations.length.toLocaleString("en-GB")}</span>
            </button>
          ))}
      </div>
    </div>
  );
});

interface SearchFieldProps {
  query: string;
  field: Ref<HTMLInputElement>;
  onQuery: (text: string) => void;
}

function SearchField({ query, field, onQuery }: SearchFieldProps) {
  const [text, setText] = useState(query);
  const later = useDebouncedCallback(onQuery, 150);
  useEffect(() => setText(query), [query]);
  return (
    <TextInput
      ref={field}
      type="search"
      size="sm"
      aria-label="Search operations"
      placeholder="Search path, summary or tool name"
      leftSection={<Icon name="search" size={16} />}
      value={text}
      onChange={(event) => {
        setText(event.currentTarget.value);
        later(event.currentTarget.value.trim());
      }}
      onKeyDown={(event) => {
        if (event.key === "Escape" || event.key === "Enter") event.currentTarget.blur();
      }}
    />
  );
}
