// Which of the ids have the flag, by Unleash's SDK for Node: reads {url, token, flag, ids, properties, folder} from stdin, writes a list.
const fs = require('fs');
const path = require('path');
const { startUnleash } = require(path.join(process.argv[2], 'node_modules', 'unleash-client'));

async function main() {
  const asked = JSON.parse(fs.readFileSync(0, 'utf8'));
  const client = await startUnleash({
    url: `${asked.url}/api/`,
    appName: 'second-opinion',
    customHeaders: { Authorization: asked.token },
    disableMetrics: true,
    refreshInterval: 3600000,
    backupPath: asked.folder,
  });
  const on = asked.ids.filter((userId) => client.isEnabled(asked.flag, { userId, properties: asked.properties }));
  fs.writeFileSync(path.join(asked.folder, 'on.json'), JSON.stringify(on));
  process.exit(0);
}

main().catch((problem) => { console.error(problem); process.exit(1); });
