import { Button, Group, NativeSelect, TextInput } from "@mantine/core";
import { useState } from "react";
import { problemOf, type Role, useSession } from "../api/client";
import { ProblemBanner } from "../ui/ErrorBanner";
import { dayAndTime } from "../ui/time";
import classes from "./settings.module.css";

const TOKEN = "token";
const WHAT = [
  { value: "", label: "Every sign-in of a person" },
  { value: "customer", label: "Of a customer" },
  { value: "lead", label: "Of a support lead" },
  { value: "operator", label: "Of an operator" },
  { value: TOKEN, label: "One sign-in" },
];

/** An operator puts somebody out, wherever they are signed in. */
export function EndSignIns() {
  const { api, me } = useSession();
  const [what, setWhat] = useState("");
  const [id, setId] = useState("");
  const [ended, setEnded] = useState("");
  const end = api.query.useMutation("post", "/api/sign-ins/end", {
    onSuccess: ({ ended_at }) => {
      setEnded(`Ended for ${id.trim()}: what was issued until ${dayAndTime(ended_at)}.`);
      setId("");
    },
  });
  if (me.role !== "operator") return null;
  const named = id.trim();
  return (
    <section aria-label="Sign-ins">
      <h2 className={classes.heading}>Sign-ins</h2>
      <p className={classes.note}>
        Whoever is put out is refused at once, and their chats close. A new sign-in link works as
        before.
      </p>
      <Group gap={8} align="end" mt="sm">
        <NativeSelect
          size="sm"
          label="What ends"
          value={what}
          onChange={(event) => setWhat(event.currentTarget.value)}
          data={WHAT}
        />
        <TextInput
          size="sm"
          label={what === TOKEN ? "Id of its token, from the audit log" : "Id of the person"}
          maxLength={500}
          value={id}
          onChange={(event) => {
            setId(event.currentTarget.value);
            setEnded("");
          }}
        />
        <Button
          size="sm"
          color="red"
          disabled={named === ""}
          loading={end.isPending}
          onClick={() =>
            end.mutate({
              body:
                what === TOKEN
                  ? { token_id: named }
                  : { person_id: named, role: what === "" ? null : (what as Role) },
            })
          }
        >
          End now
        </Button>
      </Group>
      <p role="status" className={classes.note}>
        {ended}
      </p>
      {end.isError && <ProblemBanner problem={problemOf(end.error)} />}
    </section>
  );
}
