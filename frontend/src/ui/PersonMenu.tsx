import { Button, Menu, Text } from "@mantine/core";
import { useId } from "react";
import { problemOf, type Role, useSession } from "../api/client";
import classes from "./frame.module.css";
import { Icon } from "./icons";
import { VisuallyHidden } from "./VisuallyHidden";

const ROLES: Record<Role, string> = {
  customer: "Customer",
  lead: "Support lead",
  operator: "Operator",
};

/**
 * Who is signed in, and how to leave. In a menu only its items can be read one by one, so who it is
 * is the name of their group, and what went wrong is said outside of it.
 */
export function PersonMenu() {
  const { me } = useSession();
  const [who, wrong] = [useId(), useId()];
  const leaving = useLeaving();
  return (
    <>
      <Menu position="bottom-end" width={220}>
        <Menu.Target>
          <Button
            variant="subtle"
            color="gray"
            px={8}
            c="var(--text)"
            leftSection={<Icon name="person" size={20} />}
          >
            <span className={classes.person}>
              <span>{me.name}</span>
              <span className={classes.role}>{ROLES[me.role]}</span>
            </span>
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          <div id={who} role="none" className={classes.who}>
            <Text component="span" display="block" size="sm" fw={600}>
              {me.name}
            </Text>{" "}
            <Text component="span" display="block" size="xs" c="var(--text-quiet)">
              {ROLES[me.role]}
              {me.email ? ` · ${me.email}` : ""}
            </Text>
          </div>
          <Menu.Divider role="separator" />
          <div role="group" aria-labelledby={who}>
            <LeaveItem leaving={leaving} everywhere={false}>
              Sign out
            </LeaveItem>
            <LeaveItem leaving={leaving} everywhere>
              Sign out everywhere
            </LeaveItem>
            {leaving.problem && (
              <>
                <Menu.Label id={wrong} role="none">
                  {leaving.problem}
                </Menu.Label>
                <Menu.Item aria-describedby={wrong} onClick={leaving.here}>
                  Leave this tab only
                </Menu.Item>
              </>
            )}
          </div>
        </Menu.Dropdown>
      </Menu>
      {leaving.problem && <VisuallyHidden role="alert">{leaving.problem}</VisuallyHidden>}
    </>
  );
}

type Leaving = ReturnType<typeof useLeaving>;

/** The token ends too, here or everywhere; whoever cannot be reached for that stays signed in. */
function useLeaving() {
  const { api, signOut } = useSession();
  const end = api.query.useMutation("post", "/api/me/sign-out", { onSuccess: signOut });
  return {
    pending: end.isPending,
    problem: end.isError ? problemOf(end.error).title : null,
    leave: (everywhere: boolean) => end.mutate({ body: { everywhere } }),
    here: signOut,
  };
}

interface LeaveItemProps {
  leaving: Leaving;
  everywhere: boolean;
  children: string;
}

/** While it is being done it does nothing more, but keeps the focus, which `disabled` would take. */
function LeaveItem({ leaving, everywhere, children }: LeaveItemProps) {
  return (
    <Menu.Item
      closeMenuOnClick={false}
      aria-disabled={leaving.pending}
      data-disabled={leaving.pending}
      leftSection={<Icon name="out" size={16} />}
      onClick={() => !leaving.pending && leaving.leave(everywhere)}
    >
      {children}
    </Menu.Item>
  );
}
