import "../src/ui/mantine.css";
import "../src/ui/global.css";
