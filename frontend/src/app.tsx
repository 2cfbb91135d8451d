/** Who may see which page, and the frame around all of them. */

import { Center, Loader, MantineProvider } from "@mantine/core";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  Navigate,
  Outlet,
  type RouterHistory,
  RouterProvider,
  useLocation,
} from "@tanstack/react-router";
import { type ReactNode, useMemo, useState } from "react";
import {
  createApi,
  problemOf,
  type Role,
  type Session,
  SessionContext,
  type ThreadStatus,
  useSession,
} from "./api/client";
import { forgetPerson } from "./api/sign-in";
import { type OpenSocket, openSocket } from "./api/socket";
import { type Upload, uploadDocument } from "./api/upload";
import { type AuditSearch, auditSearch } from "./audit/search";
import { type DashboardSearch, dashboardSearch } from "./dashboard/range";
import { type ReviewSearch, reviewSearch } from "./review/search";
import { EmptyState } from "./ui/EmptyState";
import { ProblemBanner } from "./ui/ErrorBanner";
import { type CountedSearch, countedSearch } from "./ui/figures";
import frame from "./ui/frame.module.css";
import { NavBar } from "./ui/NavBar";
import { SignInPage, type WhySignedOut } from "./ui/SignInPage";
import { STATUS_WORDS } from "./ui/StatusBadge";
import { theme } from "./ui/theme";

const HOME: Record<Role, "/" | "/replay" | "/review"> = {
  customer: "/",
  lead: "/replay",
  operator: "/review",
};

export interface AppProps {
  token: string | null;
  storage: Storage;
  fetch?: (request: Request) => Promise<Response>;
  openSocket?: OpenSocket;
  upload?: Upload;
  history?: RouterHistory;
}

export function App(props: AppProps) {
  const [token, setToken] = useState(props.token);
  const [why, setWhy] = useState<WhySignedOut>("never");
  const leave = (reason: WhySignedOut) => {
    forgetPerson(props.storage);
    // Who has signed out is refused from then on, which is no news to them.
    setWhy((before) => (before === "left" ? before : reason));
    setToken(null);
  };
  return (
    <MantineProvider theme={theme} defaultColorScheme="auto">
      {token === null ? (
        <SignInPage why={why} />
      ) : (
        <SignedIn {...props} token={token} onLeave={leave} />
      )}
    </MantineProvider>
  );
}

interface SignedInProps extends AppProps {
  token: string;
  onLeave: (why: WhySignedOut) => void;
}

function SignedIn({ token, storage, onLeave, ...props }: SignedInProps) {
  const [queries] = useState(
    () =>
      new QueryClient({
        defaultOptions: {
          queries: {
            staleTime: 10_000,
            // What the server refuses stays refused; what it cannot answer may answer soon.
            retry: (failures, error) => failures < 2 && (problemOf(error).status ?? 503) >= 500,
            retryDelay: (failures) => Math.min(400 * 2 ** failures, 4_000),
          },
        },
      }),
  );
  const [api] = useState(() =>
    createApi({
      fetch: props.fetch ?? ((request) => fetch(request)),
      token,
      onSignedOut: () => onLeave("expired"),
    }),
  );
  const [router] = useState(() => makeRouter(props.history));
  return (
    <QueryClientProvider client={queries}>
      <KnowWho
        api={api}
        token={token}
        storage={storage}
        openSocket={props.openSocket ?? openSocket}
        upload={props.upload ?? uploadDocument}
        onLeave={onLeave}
      >
        <RouterProvider router={router} />
      </KnowWho>
    </QueryClientProvider>
  );
}

interface KnowWhoProps
  extends Pick<Session, "api" | "token" | "storage" | "openSocket" | "upload"> {
  onLeave: (why: WhySignedOut) => void;
  children: ReactNode;
}

function KnowWho({ api, token, storage, openSocket, upload, onLeave, children }: KnowWhoProps) {
  const me = api.query.useQuery("get", "/api/me", {}, { staleTime: Number.POSITIVE_INFINITY });
  const session = useMemo<Session | null>(
    () =>
      me.data === undefined
        ? null
        : {
            api,
            token,
            storage,
            openSocket,
            upload,
            me: me.data,
            signOut: () => onLeave("left"),
            expire: () => onLeave("expired"),
          },
    [api, token, storage, openSocket, upload, me.data, onLeave],
  );
  if (session !== null)
    return <SessionContext.Provider value={session}>{children}</SessionContext.Provider>;
  if (me.isError)
    return (
      <Center component="main" className={frame.whole}>
        <div className={frame.note}>
          <h1 className={frame.hidden}>Smart Support</h1>
          <ProblemBanner problem={problemOf(me.error)} retry={() => void me.refetch()} />
        </div>
      </Center>
    );
  return <Waiting />;
}

function Waiting() {
  return (
    <Center className={frame.whole}>
      <Loader aria-label="Loading" />
    </Center>
  );
}

/** Draws its pages for one role. The others are sent home from the front door, or told. */
function For({ who, children }: { who: Role | readonly Role[]; children: ReactNode }) {
  const { me } = useSession();
  const path = useLocation({ select: ({ pathname }) => pathname });
  if ([who].flat().includes(me.role)) return children;
  return path === "/" ? <Navigate to={HOME[me.role]} replace /> : <NotForYou />;
}

function NotForYou() {
  return (
    <main className={frame.page}>
      <EmptyState order={1} icon="lock" title="This page is for another role">
        Open the sign-in link of that role in a tab of its own; each tab can be somebody else.
      </EmptyState>
    </main>
  );
}

function NotFound() {
  return (
    <main className={frame.page}>
      <EmptyState order={1} icon="search" title="There is no such page" />
    </main>
  );
}

const rootRoute = createRootRoute({
  component: () => (
    <div className={frame.frame}>
      <NavBar />
      <Outlet />
    </div>
  ),
  notFoundComponent: NotFound,
});

const SettingsPage = lazyRouteComponent(() => import("./settings/SettingsPage"), "SettingsPage");

// ---- customer: chat
const ChatLayout = lazyRouteComponent(() => import("./chat/ChatLayout"), "ChatLayout");
const customerRoute = createRoute({
  getParentRoute: () => rootRoute,
  id: "customer",
  component: () => (
    <For who="customer">
      <ChatLayout />
    </For>
  ),
});
const chatRoute = createRoute({
  getParentRoute: () => customerRoute,
  path: "/",
  component: lazyRouteComponent(() => import("./chat/NewConversation"), "NewConversation"),
});
const conversationRoute = createRoute({
  getParentRoute: () => customerRoute,
  path: "/chat/$threadId",
  component: lazyRouteComponent(() => import("./chat/Conversation"), "ConversationPage"),
});

// ---- lead: replay
const leadRoute = createRoute({
  getParentRoute: () => rootRoute,
  id: "lead",
  component: () => (
    <For who="lead">
      <Outlet />
    </For>
  ),
});

export interface ReplayListSearch extends Partial<CountedSearch> {
  status?: ThreadStatus | undefined;
  query?: string | undefined;
}
const replayListRoute = createRoute({
  getParentRoute: () => leadRoute,
  path: "/replay",
  // What is not named here would stay in the search as it came.
  validateSearch: ({ status, query, ...rest }: Record<string, unknown>): ReplayListSearch => {
    const counted = countedSearch(rest);
    // The conversations of a figure are exactly those: no filter narrows them.
    if (counted !== null) return counted;
    return {
      status:
        typeof status === "string" && status in STATUS_WORDS ? (status as ThreadStatus) : undefined,
      query: query === undefined || query === "" ? undefined : String(query),
    };
  },
  component: lazyRouteComponent(() => import("./replay/ReplayListPage"), "ReplayListPage"),
});

export interface ReplaySearch {
  /** The seq of the selected step. */
  step?: number | undefined;
  /** The id of a tool call: the step with its result is selected, unless `step` says another. */
  call?: string | undefined;
  view?: "seen" | undefined;
}
const replayRoute = createRoute({
  getParentRoute: () => leadRoute,
  path: "/replay/$threadId",
  validateSearch: ({ step, call, view }: Record<string, unknown>): ReplaySearch => ({
    step: Number.isSafeInteger(Number(step)) && Number(step) > 0 ? Number(step) : undefined,
    call: typeof call === "string" && call !== "" ? call : undefined,
    view: view === "seen" ? "seen" : undefined,
  }),
  component: lazyRouteComponent(() => import("./replay/ReplayPage"), "ReplayPage"),
});

// ---- lead: dashboard
const dashboardRoute = createRoute({
  getParentRoute: () => leadRoute,
  path: "/dashboard",
  validateSearch: (search: Record<string, unknown>): DashboardSearch => dashboardSearch(search),
  component: lazyRouteComponent(() => import("./dashboard/DashboardPage"), "DashboardPage"),
});

// ---- lead and operator: settings
const settingsRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/settings",
  component: () => (
    <For who={["lead", "operator"]}>
      <SettingsPage />
    </For>
  ),
});

// ---- operator
const operatorRoute = createRoute({
  getParentRoute: () => rootRoute,
  id: "operator",
  component: () => (
    <For who="operator">
      <Outlet />
    </For>
  ),
});
const auditRoute = createRoute({
  getParentRoute: () => operatorRoute,
  path: "/audit",
  validateSearch: (search: Record<string, unknown>): AuditSearch => auditSearch(search),
  component: lazyRouteComponent(() => import("./audit/AuditPage"), "AuditPage"),
});
const reviewListRoute = createRoute({
  getParentRoute: () => operatorRoute,
  path: "/review",
  component: lazyRouteComponent(() => import("./review/ReviewListPage"), "ReviewListPage"),
});
const reviewRoute = createRoute({
  getParentRoute: () => operatorRoute,
  path: "/review/$specId",
  validateSearch: (search: Record<string, unknown>): ReviewSearch => reviewSearch(search),
  component: lazyRouteComponent(() => import("./review/ReviewPage"), "ReviewPage"),
});

const routeTree = rootRoute.addChildren([
  customerRoute.addChildren([chatRoute, conversationRoute]),
  leadRoute.addChildren([replayListRoute, replayRoute, dashboardRoute]),
  operatorRoute.addChildren([reviewListRoute, reviewRoute, auditRoute]),
  settingsRoute,
]);

function makeRouter(history: RouterHistory | undefined) {
  return createRouter({
    routeTree,
    scrollRestoration: true,
    defaultPendingComponent: Waiting,
    defaultPreload: "intent",
    ...(history === undefined ? {} : { history }),
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
