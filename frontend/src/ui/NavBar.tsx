import {
  ActionIcon,
  Button,
  Menu,
  Popover,
  Text,
  useComputedColorScheme,
  useMantineColorScheme,
} from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { problemOf, type Role, useSession } from "../api/client";
import classes from "./frame.module.css";
import { Icon } from "./icons";

const ROLES: Record<Role, string> = {
  customer: "Customer",
  lead: "Support lead",
  operator: "Operator",
};

/** Where one can go, who one is, and what answers. */
export function NavBar() {
  const { me } = useSession();
  return (
    <header className={classes.nav}>
      <Link to="/" className={classes.brand} aria-label="Smart Support">
        <img src="/favicon.svg" alt="" width={28} height={28} />
        <span className={classes.brandName}>Smart Support</span>
      </Link>
      <nav className={classes.links} aria-label="Pages">
        {me.role === "customer" && (
          <Link to="/" className={classes.link} data-status="active">
            <Icon name="chat" /> <span className={classes.linkText}>Chat</span>
          </Link>
        )}
        {me.role === "lead" && (
          <>
            <Link to="/dashboard" className={classes.link}>
              <Icon name="chart" /> <span className={classes.linkText}>Dashboard</span>
            </Link>
            <Link to="/replay" className={classes.link}>
              <Icon name="replay" /> <span className={classes.linkText}>Replay</span>
            </Link>
          </>
        )}
        {me.role === "operator" && (
          <>
            <Link to="/review" className={classes.link}>
              <Icon name="check" /> <span className={classes.linkText}>Review</span>
            </Link>
            <Link to="/audit" className={classes.link}>
              <Icon name="list" /> <span className={classes.linkText}>Audit log</span>
            </Link>
          </>
        )}
        {me.role !== "customer" && (
          <Link to="/settings" className={classes.link}>
            <Icon name="gear" /> <span className={classes.linkText}>Settings</span>
          </Link>
        )}
      </nav>
      <div className={classes.right}>
        <ModelBadge />
        <SchemeSwitch />
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
            <div style={{ padding: "8px 12px" }}>
              <Text size="sm" fw={600}>
                {me.name}
              </Text>
              <Text size="xs" c="var(--text-quiet)">
                {ROLES[me.role]}
                {me.email ? ` · ${me.email}` : ""}
              </Text>
            </div>
            <Menu.Divider />
            <SignOut />
          </Menu.Dropdown>
        </Menu>
      </div>
    </header>
  );
}

/** The token ends too, here or everywhere; whoever cannot be reached for that stays signed in. */
function SignOut() {
  const { api, signOut } = useSession();
  const end = api.query.useMutation("post", "/api/me/sign-out", { onSuccess: signOut });
  const leave = (everywhere: boolean) => end.mutate({ body: { everywhere } });
  const shared = {
    closeMenuOnClick: false,
    disabled: end.isPending,
    leftSection: <Icon name="out" size={16} />,
  };
  return (
    <>
      <Menu.Item {...shared} onClick={() => leave(false)}>
        Sign out
      </Menu.Item>
      <Menu.Item {...shared} onClick={() => leave(true)}>
        Sign out everywhere
      </Menu.Item>
      {end.isError && (
        <>
          <Menu.Label role="alert">{problemOf(end.error).title}</Menu.Label>
          <Menu.Item onClick={signOut}>Leave this tab only</Menu.Item>
        </>
      )}
    </>
  );
}

function ModelBadge() {
  const { api } = useSession();
  const health = api.query.useQuery("get", "/api/health", {}, { refetchInterval: 60_000 });
  if (!health.data?.model.offline) return null;
  return (
    <Popover width={280} position="bottom-end" withArrow shadow="md">
      <Popover.Target>
        <button type="button" className={classes.offline}>
          Offline model
        </button>
      </Popover.Target>
      <Popover.Dropdown>
        <Text size="sm">
          No model key is configured, so a small built-in model answers. It understands simple
          requests and says so when it does not.
        </Text>
      </Popover.Dropdown>
    </Popover>
  );
}

function SchemeSwitch() {
  const { setColorScheme } = useMantineColorScheme();
  const scheme = useComputedColorScheme("light");
  const other = scheme === "light" ? "dark" : "light";
  return (
    <ActionIcon
      variant="subtle"
      color="gray"
      size={36}
      aria-label={`Switch to the ${other} look`}
      onClick={() => setColorScheme(other)}
    >
      <Icon name={scheme === "light" ? "moon" : "sun"} />
    </ActionIcon>
  );
}
