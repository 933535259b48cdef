"""Istio's ztunnel in a pod, in short: plain connections of others go on to
the pod's own address from their clients' addresses, the pod's own to where
they wanted. It tells of each: `in FROM TO`, `out FROM TO`."""

import socket, sys, threading

SO_MARK, SO_ORIGINAL_DST = 36, 80
TRANSPARENT = {socket.AF_INET: (socket.SOL_IP, 19), socket.AF_INET6: (socket.IPPROTO_IPV6, 75)}
LEVEL = {socket.AF_INET: socket.SOL_IP, socket.AF_INET6: socket.IPPROTO_IPV6}


def marked(family):
    one = socket.socket(family)
    one.setsockopt(socket.SOL_SOCKET, SO_MARK, 1337)
    return one


def wanted(client, family):
    raw = client.getsockopt(LEVEL[family], SO_ORIGINAL_DST, 28)
    port = int.from_bytes(raw[2:4], "big")
    address = raw[4:8] if family == socket.AF_INET else raw[8:24]
    return socket.inet_ntop(family, address), port


def pump(source, target):
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(client, peer, family, way):
    target = wanted(client, family)
    print(way, peer[0], target[0], target[1], flush=True)
    server = marked(family)
    server.settimeout(5)
    if way == "in" and peer[0] != target[0]:
        server.setsockopt(*TRANSPARENT[family], 1)
        server.bind((peer[0], 0))
    try:
        server.connect(target)
    except OSError as error:
        print("failed", way, peer[0], error, flush=True)
        client.close()
        return
    threading.Thread(target=pump, args=(server, client), daemon=True).start()
    pump(client, server)


def listen(family, port, way):
    listener = marked(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(*TRANSPARENT[family], 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
    listener.listen()
    while True:
        client, peer = listener.accept()
        if way == "hbone":
            print("hbone", peer[0], flush=True)
            client.close()
            continue
        threading.Thread(target=serve, args=(client, peer, family, way), daemon=True).start()


for family in (socket.AF_INET, socket.AF_INET6):
    for port, way in ((15001, "out"), (15006, "in"), (15008, "hbone")):
        threading.Thread(target=listen, args=(family, port, way), daemon=True).start()
sys.stdin.read()
