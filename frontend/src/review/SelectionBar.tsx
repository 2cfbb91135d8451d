import { Button, TextInput } from "@mantine/core";
import { useState } from "react";
import { plural } from "../ui/time";
import classes from "./review.module.css";

interface SelectionBarProps {
  count: number;
  busy: boolean;
  onApprove: (reason: string) => void;
  onReject: (reason: string) => void;
  onAccess: (access: "read" | "write") => void;
  onClear: () => void;
}

/** What can be done with all that is selected, at once. */
export function SelectionBar(props: SelectionBarProps) {
  const { count, busy, onApprove, onReject, onAccess, onClear } = props;
  const [reason, setReason] = useState("");
  return (
    <section className={classes.selection} aria-label="Selected operations">
      <strong>{plural(count, "operation")} selected</strong>
      <TextInput
        size="xs"
        aria-label="Why, for all selected"
        placeholder="Why; a rejection needs it"
        maxLength={1000}
        value={reason}
        onChange={(event) => setReason(event.currentTarget.value)}
      />
      <Button size="compact-sm" disabled={busy} onClick={() => onApprove(reason.trim())}>
        Approve {count.toLocaleString("en-GB")}
      </Button>
      <Button
        size="compact-sm"
        variant="default"
        disabled={busy || reason.trim() === ""}
        onClick={() => onReject(reason.trim())}
      >
        Reject {count.toLocaleString("en-GB")}
      </Button>
      <Button.Group>
        <Button
          size="compact-sm"
          variant="default"
          disabled={busy}
          onClick={() => onAccess("read")}
        >
          Read
        </Button>
        <Button
          size="compact-sm"
          variant="default"
          disabled={busy}
          onClick={() => onAccess("write")}
        >
          Write
        </Button>
      </Button.Group>
      <Button size="compact-sm" variant="subtle" onClick={onClear}>
        Clear
      </Button>
    </section>
  );
}
