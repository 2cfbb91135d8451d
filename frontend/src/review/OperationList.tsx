import { Button } from "@mantine/core";
import { useVirtualizer } from "@tanstack/react-virtual";
import { type KeyboardEvent, memo, useEffect, useMemo, useRef } from "react";
import type { Conflict, Operation } from "../api/client";
import { Icon } from "../ui/icons";
import { plural } from "../ui/time";
import type { Grouped, ListRow } from "./groups";
import classes from "./review.module.css";
import { inAWord, Key, StateMark } from "./words";

interface OperationListProps {
  rows: readonly ListRow[];
  /** Id of the operation that is looked at. */
  current: string | undefined;
  chosen: ReadonlySet<string>;
  conflicts: ReadonlyMap<string, Conflict>;
  busy: boolean;
  onOpen: (id: string) => void;
  onMove: (id: string) => void;
  onChoose: (id: string, range: boolean) => void;
  onChooseGroup: (group: Grouped) => void;
  onApproveGroup: (group: Grouped) => void;
}

/** The operations in their groups. Only those in sight are drawn, so six hundred are quick. */
export function OperationList(props: OperationListProps) {
  const { rows, current, chosen, conflicts, busy, onOpen, onMove, onChoose } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const index = useMemo(
    () => rows.findIndex((row) => row.kind === "operation" && row.operation.id === current),
    [rows, current],
  );
  const list = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: (at) => (rows[at]?.kind === "group" ? 74 : 66),
    getItemKey: (at) => {
      const row = rows[at];
      if (row === undefined) return at;
      return row.kind === "group" ? row.group.id : row.operation.id;
    },
    overscan: 8,
  });
  useEffect(() => {
    if (index >= 0) list.scrollToIndex(index, { align: "auto" });
  }, [list, index]);

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== event.currentTarget)
      return;
    const found = rows.flatMap((row) => (row.kind === "operation" ? [row.operation.id] : []));
    const at = found.indexOf(current ?? "");
    const to = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      Home: 0,
      End: found.length - 1,
      PageDown: at + 10,
      PageUp: at - 10,
    }[event.key];
    if (event.key === "Enter" && current !== undefined) onOpen(current);
    else if (to !== undefined) {
      const next = found[Math.min(Math.max(to, 0), found.length - 1)];
      if (next !== undefined) onMove(next);
    } else return;
    event.preventDefault();
  };

  const drawn = list.getVirtualItems();
  const isDrawn = drawn.some((item) => item.index === index);
  return (
    <div
      ref={scroller}
      className={classes.list}
      role="grid"
      aria-label="Operations"
      aria-multiselectable="true"
      aria-rowcount={rows.length}
      aria-activedescendant={isDrawn ? `operation-${current}` : undefined}
      tabIndex={0}
      onKeyDown={onKeyDown}
    >
      <div role="presentation" style={{ height: list.getTotalSize(), position: "relative" }}>
        {drawn.map((item) => {
          const row = rows[item.index];
          if (row === undefined) return null;
          return (
            <div
              key={item.key}
              role="presentation"
              className={classes.slot}
              style={{ height: item.size, transform: `translateY(${item.start}px)` }}
            >
              {row.kind === "group" ? (
                <GroupRow
                  group={row.group}
                  index={item.index}
                  busy={busy}
                  onChoose={props.onChooseGroup}
                  onApprove={props.onApproveGroup}
                />
              ) : (
                <OperationRow
                  operation={row.operation}
                  index={item.index}
                  current={row.operation.id === current}
                  chosen={chosen.has(row.operation.id)}
                  conflict={conflicts.get(row.operation.id)}
                  onOpen={onOpen}
                  onChoose={onChoose}
                />
              )}
            </div>
          );
        })}
      </div>
    </div>
  );
}

interface GroupRowProps {
  group: Grouped;
  index: number;
  busy: boolean;
  onChoose: (group: Grouped) => void;
  onApprove: (group: Grouped) => void;
}

function GroupRow({ group, index, busy, onChoose, onApprove }: GroupRowProps) {
  const count = group.operations.length;
  return (
    // biome-ignore lint/a11y/useFocusableInteractive: focus stays on the grid
    <div role="row" aria-rowindex={index + 1} className={classes.group} data-group={group.id}>
      {/* biome-ignore lint/a11y/useFocusableInteractive: focus stays on the grid */}
      <div role="gridcell" className={classes.groupText}>
        <span className={classes.groupTitle}>
          {group.title} <span className={classes.count}>{count.toLocaleString("en-GB")}</span>
        </span>
        <span className={classes.groupHint}>{group.hint}</span>
      </div>
      {/* biome-ignore lint/a11y/useFocusableInteractive: focus stays on the grid */}
      <div role="gridcell" className={classes.groupActions}>
        {group.id === "reads" ? (
          <Button
            size="compact-sm"
            disabled={busy}
            aria-label={`Approve ${plural(count, "clear read")}`}
            onClick={() => onApprove(group)}
          >
            Approve {count.toLocaleString("en-GB")}
          </Button>
        ) : (
          <Button
            size="compact-sm"
            variant="default"
            aria-label={`Select ${count.toLocaleString("en-GB")} of “${group.title}”`}
            onClick={() => onChoose(group)}
          >
            Select {count.toLocaleString("en-GB")}
          </Button>
        )}
      </div>
    </div>
  );
}

interface OperationRowProps {
  operation: Operation;
  index: number;
  current: boolean;
  chosen: boolean;
  conflict: Conflict | undefined;
  onOpen: (id: string) => void;
  onChoose: (id: string, range: boolean) => void;
}

const OperationRow = memo(function OperationRow(props: OperationRowProps) {
  const { operation, index, current, chosen, conflict, onOpen, onChoose } = props;
  return (
    // biome-ignore lint/a11y/useFocusableInteractive: focus stays on the grid (aria-activedescendant)
    // biome-ignore lint/a11y/useKeyWithClickEvents: the grid takes the keys for all its rows
    <div
      id={`operation-${operation.id}`}
      role="row"
      aria-rowindex={index + 1}
      aria-selected={chosen}
      aria-current={current ? "true" : undefined}
      className={classes.row}
      data-conflict={conflict !== undefined}
      onClick={() => onOpen(operation.id)}
    >
      {/* biome-ignore lint/a11y/useFocusableInteractive: focus stays on the grid */}
      {/* biome-ignore lint/a11y/useKeyWithClickEvents: x chooses */}
      <div role="gridcell" className={classes.check} onClick={(event) => event.stopPropagation()}>
        <label>
          <input
            type="checkbox"
            tabIndex={-1}
            aria-label={`Select ${operation.key}`}
            checked={chosen}
            onChange={(event) =>
              onChoose(operation.id, (event.nativeEvent as MouseEvent).shiftKey === true)
            }
          />
        </label>
      </div>
      {/* biome-ignore lint/a11y/useFocusableInteractive: focus stays on the grid */}
      <div role="gridcell" className={classes.what}>
        <Key method={operation.method} path={operation.path} />
        <span className={classes.summary}>
          {conflict ? (
            <strong className={classes.by}>
              <Icon name="warning" size={13} /> {conflict.decided_by ?? "A new import"} changed this
            </strong>
          ) : (
            operation.summary || operation.tool_name
          )}
        </span>
      </div>
      {/* biome-ignore lint/a11y/useFocusableInteractive: focus stays on the grid */}
      <div role="gridcell" className={classes.verdict}>
        <StateMark state={operation.state} />
        <span className={classes.short}>
          {operation.turned_write ? (
            <strong className={classes.by}>was a read, writes now</strong>
          ) : operation.breaking ? (
            <strong className={classes.by}>breaks calls as before</strong>
          ) : (
            `${inAWord(operation.classification)} · ${operation.tokens.toLocaleString("en-GB")} tokens`
          )}
        </span>
      </div>
    </div>
  );
});
