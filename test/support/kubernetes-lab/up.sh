#!/usr/bin/env bash
# up.sh RUN IMAGES.tar [NODES=1]: real etcd, kube-apiserver, controller manager and scheduler, and a containerd and a kubelet per node, on
# this machine and without systemd. `kone` and `pause` must be on PATH. All of it lives below RUN; down.sh RUN takes it away again.
set -euo pipefail
run=${1:?} images=${2:?} nodes=${3:-1}
pki=$run/pki api=${LAB_API_PORT:-26443} etcd=${LAB_ETCD_PORT:-26379}
mkdir -p "$run"/{pki,log,etcd,kc}
chmod 700 "$run"/{pki,kc,etcd}
touch "$run/started"
# A kubelet rewrites these at its start; down.sh puts them back.
sysctl vm.overcommit_memory kernel.panic kernel.panic_on_oops >"$run/sysctl.saved"
ip=$(ip -4 -o addr show scope global | awk '$2 !~ /^(docker|kn|br|longshore)/ {split($4, a, "/"); print a[1]; exit}')
background() { local name=$1; shift; setsid "$@" >"$run/log/$name.log" 2>&1 </dev/null & echo $! >"$run/$name.pid"; }

# One authority, P-256 keys.
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$pki/$1.key" 2>/dev/null; }
certificate() { # NAME SUBJECT EXTENSIONS
  key "$1"
  openssl req -new -key "$pki/$1.key" -subj "$2" 2>/dev/null \
    | openssl x509 -req -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 30 -out "$pki/$1.crt" -extfile <(printf '%s\n' "$3") 2>/dev/null
}
key ca
openssl req -x509 -new -key "$pki/ca.key" -subj /CN=lab-ca -days 30 -out "$pki/ca.crt" 2>/dev/null
client=extendedKeyUsage=clientAuth
certificate apiserver /CN=kube-apiserver $'extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost,DNS:kubernetes,IP:127.0.0.1,IP:10.96.0.1,IP:'"$ip"
certificate admin /O=system:masters/CN=admin "$client"
certificate kcm /CN=system:kube-controller-manager "$client"
certificate sched /CN=system:kube-scheduler "$client"
# Whoever may do what deploy/kubernetes grants, and nothing else.
certificate longshore /CN=longshore "$client"
certificate kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client "$client"
for i in $(seq 1 "$nodes"); do
  certificate "n$i" "/O=system:nodes/CN=system:node:n$i" $'extendedKeyUsage=clientAuth,serverAuth\nsubjectAltName=DNS:n'"$i"',IP:127.0.0.1,IP:'"$ip"
done
openssl genrsa -out "$pki/sa.key" 2048 2>/dev/null
for user in admin kcm sched longshore $(seq -f n%g 1 "$nodes"); do
  cat >"$run/kc/$user.kubeconfig" <<Y
apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: "https://127.0.0.1:$api", certificate-authority: $pki/ca.crt}}]
users: [{name: u, user: {client-certificate: $pki/$user.crt, client-key: $pki/$user.key}}]
contexts: [{name: lab, context: {cluster: lab, user: u}}]
current-context: lab
Y
done

background etcd kone etcd --data-dir "$run/etcd/data" --listen-client-urls "http://127.0.0.1:$etcd" --advertise-client-urls "http://127.0.0.1:$etcd" \
  --listen-peer-urls "http://127.0.0.1:$((etcd + 1))" --initial-advertise-peer-urls "http://127.0.0.1:$((etcd + 1))" \
  --initial-cluster "default=http://127.0.0.1:$((etcd + 1))" --unsafe-no-fsync --log-level warn
background apiserver kone apiserver --etcd-servers="http://127.0.0.1:$etcd" --bind-address=127.0.0.1 --advertise-address="$ip" --secure-port="$api" \
  --service-cluster-ip-range=10.96.0.0/16 --authorization-mode=Node,RBAC --client-ca-file="$pki/ca.crt" \
  --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
  --kubelet-client-certificate="$pki/kubelet-client.crt" --kubelet-client-key="$pki/kubelet-client.key" --kubelet-certificate-authority="$pki/ca.crt" \
  --kubelet-preferred-address-types=InternalIP --service-account-issuer=https://kubernetes.default.svc \
  --service-account-signing-key-file="$pki/sa.key" --service-account-key-file="$pki/sa.key" --endpoint-reconciler-type=none --profiling=false --allow-privileged=false

cni=/usr/lib/cni
[ -d $cni ] || cni=/opt/cni/bin
for i in $(seq 1 "$nodes"); do
  node=$run/n$i
  mkdir -p "$node"/{cni,containerd,crun,kubelet,podlogs}
  cat >"$node/containerd.toml" <<Y
version = 2
root = "$node/containerd"
state = "$node/crun"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs","io.containerd.snapshotter.v1.zfs","io.containerd.snapshotter.v1.aufs","io.containerd.snapshotter.v1.devmapper","io.containerd.internal.v1.opt"]
[grpc]
  address = "$node/c.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/longshore/lab-pause:1"
  stream_server_address = "127.0.0.1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$cni"
    conf_dir = "$node/cni"
Y
  cat >"$node/cni/10-lab.conflist" <<Y
{"cniVersion":"0.4.0","name":"lab$i","plugins":[{"type":"bridge","bridge":"kn$i","isGateway":true,"ipMasq":false,"ipam":{"type":"host-local","dataDir":"$node/ipam","ranges":[[{"subnet":"10.244.$i.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}
Y
  background "n$i-containerd" containerd --config "$node/containerd.toml"
  cat >"$node/kubelet.yaml" <<Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $ip
port: $((26500 + i))
healthzPort: $((26600 + i))
healthzBindAddress: 127.0.0.1
cgroupDriver: cgroupfs
cgroupRoot: /lab-n$i
cgroupsPerQOS: true
enforceNodeAllocatable: ["pods"]
failSwapOn: false
failCgroupV1: false
makeIPTablesUtilChains: false
containerRuntimeEndpoint: unix://$node/c.sock
podLogsDir: $node/podlogs
clusterDNS: []
resolvConf: /etc/resolv.conf
rotateCertificates: false
tlsCertFile: $pki/n$i.crt
tlsPrivateKeyFile: $pki/n$i.key
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 200Mi, nodefs.available: 1%, imagefs.available: 1%}
maxPods: 60
nodeStatusUpdateFrequency: 5s
registerNode: true
kubeReserved: {cpu: 100m, memory: 256Mi}
Y
done
until curl -sf --cacert "$pki/ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" "https://127.0.0.1:$api/readyz" >/dev/null 2>&1; do
  kill -0 "$(cat "$run/apiserver.pid")" || { tail -n 5 "$run/log/apiserver.log" "$run/log/etcd.log" >&2; exit 1; }
  sleep 0.1
done
background kcm kone controller-manager --kubeconfig="$run/kc/kcm.kubeconfig" --bind-address=127.0.0.1 --secure-port=26257 --leader-elect=false \
  --service-account-private-key-file="$pki/sa.key" --root-ca-file="$pki/ca.crt" --use-service-account-credentials=true \
  --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" --allocate-node-cidrs=false --node-monitor-grace-period=20s
background sched kone scheduler --kubeconfig="$run/kc/sched.kubeconfig" --bind-address=127.0.0.1 --secure-port=26259 --leader-elect=false
for i in $(seq 1 "$nodes"); do
  node=$run/n$i
  until ctr -a "$node/c.sock" version >/dev/null 2>&1; do sleep 0.1; done
  ctr -a "$node/c.sock" -n k8s.io images import "$images" >/dev/null
  for controller in cpu cpuacct cpuset memory pids devices freezer blkio systemd; do
    [ -d /sys/fs/cgroup/$controller ] && mkdir -p "/sys/fs/cgroup/$controller/lab-n$i"
  done
  if [ -d /sys/fs/cgroup/cpuset ]; then
    cat /sys/fs/cgroup/cpuset/cpuset.cpus >"/sys/fs/cgroup/cpuset/lab-n$i/cpuset.cpus"
    cat /sys/fs/cgroup/cpuset/cpuset.mems >"/sys/fs/cgroup/cpuset/lab-n$i/cpuset.mems"
  fi
  background "n$i-kubelet" kone kubelet --config="$node/kubelet.yaml" --kubeconfig="$run/kc/n$i.kubeconfig" --root-dir="$node/kubelet" \
    --hostname-override="n$i" --node-ip="$ip" --cert-dir="$node/kubelet/pki" --v=1
done
export KUBECONFIG=$run/kc/admin.kubeconfig
for _ in $(seq 1 600); do
  for pid in "$run"/*.pid; do
    kill -0 "$(cat "$pid")" 2>/dev/null && continue
    name=$(basename "$pid" .pid)
    echo "the lab's $name ended: $(tail -n 1 "$run/log/$name.log")" >&2
    exit 1
  done
  if [ "$(kone kubectl get nodes --no-headers 2>/dev/null | grep -cw Ready)" = "$nodes" ] && kone kubectl get sa default >/dev/null 2>&1; then exit 0; fi
  sleep 0.2
done
echo "the nodes of the lab did not become ready; logs are in $run/log" >&2
exit 1
