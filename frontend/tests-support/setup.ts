import "@mantine/core/styles.css";
import "../src/ui/global.css";
