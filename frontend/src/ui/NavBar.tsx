import {
  ActionIcon,
  Popover,
  Text,
  useComputedColorScheme,
  useMantineColorScheme,
} from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useSession } from "../api/client";
import classes from "./frame.module.css";
import { Icon } from "./icons";
import { PersonMenu } from "./PersonMenu";

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
        <PersonMenu />
      </div>
    </header>
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
